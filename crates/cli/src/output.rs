//! Standard output of all subcommands.

use std::io::{self, ErrorKind, Write as _};

/// Whoever read our standard output went away, as `head` does. No failure of ours.
#[derive(Debug)]
pub(crate) struct ReaderGone;

impl std::fmt::Display for ReaderGone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("nobody reads the output")
    }
}

impl std::error::Error for ReaderGone {}

/// Writes text at once, so that lines of several processes do not mix.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    if cfg!(test) {
        // The macro's output is captured with the test's own.
        print!("{text}");
        return Ok(());
    }
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        outcome => Ok(outcome?),
    }
}

/// Writes a document as JSON.
pub(crate) fn print_json(document: &impl serde::Serialize) -> anyhow::Result<()> {
    print(&(serde_json::to_string_pretty(document)? + "\n"))
}
