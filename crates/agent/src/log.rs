//! What the agent tells a person who looks into why something happened.

use std::cell::Cell;
use std::fmt::Arguments;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

/// A log longer than this is begun anew.
const BYTES_MAX: u64 = 1 << 20;
/// Lines of one agent; what comes after is not written, so that no program can fill the disk.
const LINES_MAX: u32 = 20_000;

/// Lines to standard error, or to a file.
pub(crate) struct Log {
    file: Option<File>,
    lines: Cell<u32>,
}

impl Log {
    /// A log to standard error.
    pub(crate) const fn to_stderr() -> Self {
        Self {
            file: None,
            lines: Cell::new(0),
        }
    }

    /// A log to a file, which need not work for the agent to work.
    pub(crate) fn to_file(path: &Path) -> Self {
        let long = std::fs::metadata(path).is_ok_and(|m| m.len() > BYTES_MAX);
        let opened = OpenOptions::new()
            .create(true)
            .write(true)
            .append(!long)
            .truncate(long)
            .open(path);
        Self {
            file: opened.ok(),
            lines: Cell::new(0),
        }
    }

    /// Has panics of this process written here, too: nobody reads its standard error.
    pub(crate) fn panics(&self) {
        let Some(file) = self.file.as_ref().and_then(|file| file.try_clone().ok()) else {
            return;
        };
        std::panic::set_hook(Box::new(move |info| {
            let _ = writeln!(&file, "[{}] {info}", std::process::id());
        }));
    }

    /// Writes a line, also to standard error: for whoever starts the agent.
    pub(crate) fn aloud(&self, text: Arguments<'_>) {
        self.line(text);
        if self.file.is_some() {
            eprintln!("sidestep: {text}");
        }
    }

    /// Writes a line.
    pub(crate) fn line(&self, text: Arguments<'_>) {
        let lines = self.lines.get();
        if lines >= LINES_MAX {
            return;
        }
        self.lines.set(lines + 1);
        let pid = std::process::id();
        // Nobody is there to hear that logging failed.
        let _ = match &self.file {
            Some(file) => writeln!(&*file, "[{pid}] {text}"),
            None => writeln!(std::io::stderr(), "sidestep agent: {text}"),
        };
    }
}
