//! Rules of style that no other tool checks, each a failing test: see the list in [`check`].

#[cfg(test)]
mod tests;

use anyhow::{Context as _, bail};
use std::path::Path;
use std::process::ExitCode;

/// Longest file of code, in lines.
const LINES_MAX: usize = 800;
/// Directories that hold nothing of ours.
const SKIPPED: [&str; 5] = ["target", ".git", "artifacts", "corpus", "coverage"];
/// This file, which has to name what it bans.
const ITSELF: &str = "xtask/src/tidy";

/// Words that do not belong in code, with what to do instead.
const BANNED: [(&str, &str); 7] = [
    ("TODO", "do it, or say in the documentation what is missing"),
    (
        "FIXME",
        "fix it, or say in the documentation what is missing",
    ),
    ("XXX", "say what is meant"),
    ("fn get_", "name it for what it returns, without get_"),
    ("dbg!(", "remove it"),
    ("/root/", "no paths of one machine"),
    ("/home/", "no paths of one machine"),
];
/// Hosts of package registries; whoever builds this has their own.
const REGISTRY_HOSTS: [&str; 4] = [
    "index.crates.io",
    "static.crates.io",
    "deb.debian.org",
    "pypi.org",
];
/// The protocol's core neither reads clocks nor talks to the system.
const CORE: [&str; 3] = ["crates/wire/src", "crates/tcp/src", "crates/stack/src"];
const BANNED_IN_CORE: [&str; 5] = [
    "Instant::now",
    "SystemTime",
    "clock_gettime",
    "std::net::Tcp",
    "std::net::Udp",
];
/// Where unsafe code may be: a whole directory, or files of that name anywhere.
const UNSAFE_DIRECTORIES: [&str; 1] = ["crates/shm/src/"];
const UNSAFE_FILES: [&str; 10] = [
    "/sys.rs",
    "/exports.rs",
    "/real.rs",
    "crates/cli/src/pingpong/sockets.rs",
    "crates/cli/src/run/signals.rs",
    "crates/exports/src/",
    "crates/packetdrill/",
    "crates/socket/src/process.rs",
    "bench/src/load/sockets.rs",
    "fuzz/",
];

/// Checks the repository in the current directory.
pub(crate) fn main(root: &Path) -> anyhow::Result<ExitCode> {
    check(root)?;
    println!("tidy");
    Ok(ExitCode::SUCCESS)
}

/// Length of files, documentation of modules, banned words, places of unsafe code, purity of the core.
pub(crate) fn check(root: &Path) -> anyhow::Result<()> {
    let mut complaints = Vec::new();
    let mut files = 0;
    visit(root, root, &mut |path, text| {
        files += 1;
        complaints.extend(complaints_of(path, text));
    })?;
    if files == 0 {
        bail!("no files found: this is not the repository");
    }
    for complaint in &complaints {
        println!("{complaint}");
    }
    if !complaints.is_empty() {
        bail!("{} places are untidy", complaints.len());
    }
    Ok(())
}

fn visit(
    root: &Path,
    directory: &Path,
    on_file: &mut impl FnMut(&str, &str),
) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    for entry in entries {
        let entry = entry?;
        let (name, path) = (entry.file_name(), entry.path());
        if entry.file_type()?.is_dir() {
            if !SKIPPED.iter().any(|skipped| name == *skipped) {
                visit(root, &path, on_file)?;
            }
            continue;
        }
        // What is not text is data.
        if let Ok(text) = std::fs::read_to_string(&path) {
            let relative = path.strip_prefix(root).unwrap_or(&path);
            on_file(&relative.to_string_lossy(), &text);
        }
    }
    Ok(())
}

/// What is wrong with one file.
fn complaints_of(path: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    if path.starts_with(ITSELF) {
        return complaints;
    }
    let is_code = path.ends_with(".rs");
    let core = CORE.iter().any(|directory| path.starts_with(directory));
    for (line, content) in (1..).zip(text.lines()) {
        let mut complain = |what: String| complaints.push(format!("{path}:{line}: {what}"));
        for (word, advice) in BANNED.iter().filter(|_| is_code || path.ends_with(".md")) {
            if content.contains(word) {
                complain(format!("{word}: {advice}"));
            }
        }
        for host in REGISTRY_HOSTS
            .iter()
            .filter(|host| content.contains(**host))
        {
            complain(format!("{host}: no hosts of registries"));
        }
        for word in BANNED_IN_CORE
            .iter()
            .filter(|word| core && content.contains(**word))
        {
            complain(format!(
                "{word}: the core is given the time, and does no input or output"
            ));
        }
    }
    if is_code {
        complaints.extend(
            complaints_of_code(path, text)
                .into_iter()
                .map(|what| format!("{path}: {what}")),
        );
    }
    complaints
}

fn complaints_of_code(path: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let lines = text.lines().count();
    if lines > LINES_MAX {
        complaints.push(format!("{lines} lines; split it, {LINES_MAX} are allowed"));
    }
    // A sibling file of tests is documented by the file whose sibling it is.
    if !text.starts_with("//!") && !path.ends_with("/tests.rs") {
        complaints.push("begins without `//!`: say what the file owns".to_owned());
    }
    if path.ends_with("/utils.rs") || path.ends_with("/util.rs") {
        complaints.push("name it for what it does".to_owned());
    }
    let lifted = text.contains("expect(unsafe_code") || text.contains("allow(unsafe_code");
    let allowed = UNSAFE_DIRECTORIES
        .iter()
        .any(|directory| path.starts_with(directory))
        || UNSAFE_FILES.iter().any(|file| path.contains(file));
    if lifted && !allowed {
        complaints.push(
            "unsafe code belongs in a file for it (sys.rs), or in the list in tidy".to_owned(),
        );
    }
    complaints
}
