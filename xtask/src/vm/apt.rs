//! What the guest is made of, from the distribution: QEMU, busybox, and a kernel that is new enough.

use crate::{packages, steps};
use anyhow::{Context as _, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Programs that start the guest, and their packages.
const PROGRAMS: [(&str, &str); 3] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("xz", "xz-utils"),
];
/// Programs can map the sockets that they are handed since then.
const KERNEL: (u32, u32) = (6, 4);

/// Installs what is missing and may be installed; else says what to do.
pub(super) fn programs(directory: &Path) -> anyhow::Result<()> {
    let missing: Vec<&str> = PROGRAMS
        .into_iter()
        .filter(|(program, _)| packages::find(program).is_none())
        .map(|(_, package)| package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !packages::may_install() {
        bail!(
            "to run a guest, first: apt-get install {}",
            missing.join(" ")
        );
    }
    steps::say(&format!("install: {}", missing.join(" ")));
    // Newer ones have more cards.
    let (sources, suite) = match backports(directory) {
        Ok((options, suite)) => (options, vec!["-t".to_owned(), suite]),
        Err(_) => (Vec::new(), Vec::new()),
    };
    let words = ["--quiet", "--yes", "--no-install-recommends", "install"];
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive")
        .env("RUNLEVEL", "1")
        .args(sources)
        .args(suite)
        .args(words)
        .args(missing)
        .stdin(Stdio::null());
    steps::succeed(&mut apt).context("cannot install what the guest needs")
}

/// The kernel and the directory of its modules, which is like `/lib/modules`; unpacked, not installed.
pub(super) fn kernel(directory: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
    if let Ok(known) = unpacked(directory) {
        return Ok(known);
    }
    let mut options = Vec::new();
    let mut package = newest(&options)?;
    if !is_new_enough(&package) {
        let (sources, suite) = backports(directory)?;
        options = sources;
        options.extend(["-t".to_owned(), suite]);
        package = newest(&options)?;
    }
    if !is_new_enough(&package) {
        let (major, minor) = KERNEL;
        bail!("{package} is older than {major}.{minor}, and no newer one is to be had");
    }
    steps::say(&format!("unpack {package}"));
    let place = directory.join("kernel");
    let _ = std::fs::remove_dir_all(&place);
    std::fs::create_dir_all(&place)?;
    let mut download = Command::new("apt-get");
    download
        .args(["--quiet", "download", &package])
        .args(&options)
        .current_dir(&place);
    steps::succeed(&mut download).context("cannot download the kernel")?;
    let file = only_file(&place, |name| name.ends_with(".deb"))?;
    steps::succeed(Command::new("dpkg").arg("-x").arg(&file).arg(&place))?;
    std::fs::remove_file(file)?;
    let moved = place.join("usr/lib/modules");
    if moved.is_dir() {
        std::fs::create_dir_all(place.join("lib"))?;
        std::fs::rename(moved, place.join("lib/modules"))?;
    }
    decompress(&place.join("lib/modules"))?;
    let version = only_file(&place.join("lib/modules"), |_| true)?;
    let version = version.file_name().context("a version")?;
    let mut depmod = Command::new("busybox");
    depmod.arg("depmod").arg("-b").arg(&place).arg(version);
    steps::succeed(depmod.stderr(Stdio::null()))?;
    std::fs::write(place.join("complete"), "")?;
    unpacked(directory)
}

fn unpacked(directory: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
    let place = directory.join("kernel");
    if !place.join("complete").exists() {
        bail!("no kernel in {}", place.display());
    }
    let kernel = only_file(&place.join("boot"), |name| name.starts_with("vmlinuz-"))?;
    Ok((kernel, place.join("lib/modules")))
}

fn only_file(directory: &Path, of: impl Fn(&str) -> bool) -> anyhow::Result<PathBuf> {
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("cannot read {}", directory.display()))?;
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let named = paths.find(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(&of)
    });
    named.with_context(|| format!("{} lacks a file", directory.display()))
}

/// Modules of what the guest does not have, most of all that there are.
const USELESS: [&str; 16] = [
    "sound",
    "drivers/ata",
    "drivers/bluetooth",
    "drivers/gpu",
    "drivers/hid",
    "drivers/hwmon",
    "drivers/iio",
    "drivers/infiniband",
    "drivers/input",
    "drivers/media",
    "drivers/mtd",
    "drivers/net/wireless",
    "drivers/platform",
    "drivers/scsi",
    "drivers/staging",
    "drivers/usb",
];

/// Busybox loads modules that are not compressed.
fn decompress(modules: &Path) -> anyhow::Result<()> {
    let version = only_file(modules, |_| true)?;
    for directory in USELESS {
        let _ = std::fs::remove_dir_all(version.join("kernel").join(directory));
    }
    let script = "find \"$0\" -name '*.ko.xz' -print0 | xargs -0r -n64 -P2 xz -d";
    let mut shell = Command::new("sh");
    steps::succeed(shell.args(["-c", script]).arg(modules))
}

/// The package of the newest kernel.
fn newest(options: &[String]) -> anyhow::Result<String> {
    let said = output(
        Command::new("apt-cache")
            .args(options)
            .args(["depends", "linux-image-amd64"]),
    )?;
    let mut depends = said
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "));
    let package = depends.find(|name| name.starts_with("linux-image-"));
    package
        .map(str::to_owned)
        .context("apt knows no linux-image-amd64: apt-get update")
}

fn is_new_enough(package: &str) -> bool {
    let version = package.trim_start_matches("linux-image-");
    let mut numbers = version.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next().and_then(|n| n.parse().ok()).unwrap_or(0u32);
    (next(), next()) >= KERNEL
}

/// Options of apt by which it sees the backports of this machine's release, from where it has everything else, without a
/// change to its configuration; and their name.
fn backports(directory: &Path) -> anyhow::Result<(Vec<String>, String)> {
    let release = std::fs::read_to_string("/etc/os-release")?;
    let field = |name: &str| {
        let lines = release.lines();
        let mut values = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        values
            .next()
            .map(|value| value.trim_matches('"').to_owned())
    };
    let name = field("VERSION_CODENAME").context("a distribution without releases")?;
    let suite = format!("{name}-backports");
    let known = output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(RELEASE) $(REPO_URI)",
        "Created-By: Packages",
    ]))?;
    let place = directory.join("apt");
    std::fs::create_dir_all(place.join("lists/partial"))?;
    let mut sources = known.lines().filter_map(|line| line.split_once(' '));
    let own = sources.find(|(release, _)| *release == name);
    let (_, from) = own.context("apt knows no source of this release")?;
    let keys = format!(
        "/usr/share/keyrings/{}-archive-keyring.gpg",
        field("ID").unwrap_or_default()
    );
    let signed = if Path::new(&keys).exists() {
        format!("[signed-by={keys}] ")
    } else {
        String::new()
    };
    let list = place.join("sources.list");
    std::fs::write(
        &list,
        format!("deb {signed}{from} {name} main\ndeb {signed}{from} {suite} main\n"),
    )?;
    let options: Vec<String> = [
        format!("Dir::Etc::SourceList={}", list.display()),
        "Dir::Etc::SourceParts=-".to_owned(),
        format!("Dir::State::Lists={}", place.join("lists").display()),
    ]
    .into_iter()
    .flat_map(|option| ["-o".to_owned(), option])
    .collect();
    let mut update = Command::new("apt-get");
    update.args(&options).args(["--quiet", "update"]);
    steps::succeed(&mut update).context("cannot fetch the lists of backports")?;
    Ok((options, suite))
}

fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
