//! Where libsidestep.so is.

use anyhow::{Context as _, bail};
use std::path::{Path, PathBuf};

const NAME: &str = "libsidestep.so";

/// The library that `sidestep run` loads into programs: the one that SIDESTEP_LIBRARY names, else the one beside this
/// executable, else the one in `../lib/sidestep`.
pub(crate) fn find() -> anyhow::Result<PathBuf> {
    if let Some(named) = std::env::var_os("SIDESTEP_LIBRARY").filter(|name| !name.is_empty()) {
        let path = PathBuf::from(named);
        return path
            .canonicalize()
            .with_context(|| format!("SIDESTEP_LIBRARY={}", path.display()));
    }
    let exe = std::env::current_exe().context("cannot find the own executable")?;
    let directory = exe.parent().unwrap_or(Path::new("/"));
    find_beside(directory)
}

/// The library as installed with an executable in `directory`.
pub(crate) fn find_beside(directory: &Path) -> anyhow::Result<PathBuf> {
    let candidates = [
        directory.join(NAME),
        directory.join("../lib/sidestep").join(NAME),
    ];
    match candidates.iter().find_map(|path| path.canonicalize().ok()) {
        Some(found) => Ok(found),
        None => bail!(
            "{NAME} is neither in {} nor in ../lib/sidestep: build it with `cargo xtask build`, or name it in \
             SIDESTEP_LIBRARY",
            directory.display()
        ),
    }
}
