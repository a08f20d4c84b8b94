//! `cargo xtask test --vm`: whole-system tests in a guest, for what this machine's kernel or hardware may lack: VLANs,
//! bonds, and network cards with drivers of their own.
//!
//! The guest is QEMU with the distribution's kernel. It sees the files of this machine, read-only with a layer of memory
//! upon them, so that it has every program that is here; what it writes is gone when it ends. Without hardware
//! virtualisation the processor is emulated, so this is about function and not about speed.

mod apt;
mod image;

use crate::clock::Since;
use crate::{packages, steps, suite};
use anyhow::{Context as _, bail};
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// The tests, by the name of their program.
const TESTS: &str = "guest";
/// What the guest says before its tests begin.
const BEGINS: &str = "guest: ready";
/// An emulated processor now and then stops while it boots: then it is started again.
const BOOT_TIMEOUT: Duration = Duration::from_secs(90);
const BOOTS: u32 = 3;
/// The tests take some minutes.
const TIMEOUT: Duration = Duration::from_secs(40 * 60);
/// How much longer programs of the tests wait there.
const PATIENCE: &str = "SIDESTEP_TEST_PATIENCE=4";
/// Cards of the guest, and the segment that each is on.
const CARDS: [(&str, u32); 6] = [
    ("virtio-net-pci,disable-legacy=on,mq=on", 1),
    ("virtio-net-pci,disable-legacy=on,mq=on", 1),
    ("e1000e", 2),
    ("e1000e", 2),
    ("igb", 3),
    ("igb", 3),
];

/// Runs the tests of `tests/tests/guest.rs`, those whose names contain one of `names`, all if there are none.
pub(crate) fn main(names: &[String]) -> ExitCode {
    let mut summary = suite::Summary::default();
    match prepare() {
        Ok(guest) => summary.take(TESTS, &guest.run(names)),
        Err(error) => summary.step("the guest", Err(error)),
    }
    summary.finish()
}

/// Everything that a guest is started with.
struct Guest {
    kernel: PathBuf,
    initramfs: PathBuf,
    modules: PathBuf,
    tests: PathBuf,
    home: PathBuf,
    sidestep: PathBuf,
    cards: Vec<(&'static str, u32)>,
}

fn prepare() -> anyhow::Result<Guest> {
    if !cfg!(target_arch = "x86_64") {
        bail!("the guest is of x86-64");
    }
    let directory = std::path::absolute(steps::target_directory().join("vm"))?;
    std::fs::create_dir_all(&directory)?;
    if packages::may_install() {
        let missing = packages::missing(packages::known());
        packages::install(&missing)?;
    }
    apt::programs(&directory)?;
    steps::build_release()?;
    let (tests, home) = suite::build_one(TESTS)?;
    let (kernel, modules) = apt::kernel(&directory)?;
    let initramfs = image::write(&directory, &modules)?;
    let cards = known_cards()?;
    Ok(Guest {
        kernel,
        initramfs,
        modules,
        tests,
        home,
        sidestep: steps::sidestep()?,
        cards,
    })
}

/// The cards that this QEMU has: before 8.0 it had no igb.
fn known_cards() -> anyhow::Result<Vec<(&'static str, u32)>> {
    let said = Command::new("qemu-system-x86_64")
        .args(["-device", "help"])
        .output()
        .context("cannot run qemu-system-x86_64")?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let has = |card: &str| {
        let name = card.split(',').next().unwrap_or(card);
        said.contains(&format!("name \"{name}\""))
    };
    Ok(CARDS.into_iter().filter(|(card, _)| has(card)).collect())
}

impl Guest {
    fn run(&self, names: &[String]) -> suite::Outcome {
        steps::say("tests in a guest, which take some minutes");
        for _ in 0..BOOTS {
            match self.boot(names) {
                Ok(Some(outcome)) => return outcome,
                Ok(None) => println!("the guest did not boot"),
                Err(error) => return suite::Outcome::broken(&format!("{error:#}")),
            }
        }
        suite::Outcome::broken("no guest boots")
    }

    /// Boots, and runs the tests to their end. Nothing if it did not come so far.
    fn boot(&self, names: &[String]) -> anyhow::Result<Option<suite::Outcome>> {
        let mut guest = Command::new("qemu-system-x86_64")
            .args(self.words(names))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run qemu-system-x86_64")?;
        let lines = lines_of(&mut guest)?;
        let mut outcome = suite::Outcome::default();
        let since = Since::now();
        let mut begun = false;
        loop {
            let limit = if begun { TIMEOUT } else { BOOT_TIMEOUT };
            match lines.recv_timeout(limit.saturating_sub(since.elapsed())) {
                Ok(line) if line.contains(BEGINS) => begun = true,
                Ok(line) => {
                    println!("{line}");
                    outcome.read(&line);
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    guest.kill()?;
                    if begun {
                        outcome.fail(&format!("no end after {} s", limit.as_secs()));
                    }
                    break;
                }
            }
        }
        guest.wait()?;
        if begun && !outcome.complete && outcome.failed == 0 {
            outcome.fail("the guest ended without a result");
        }
        Ok(begun.then_some(outcome))
    }

    /// Of QEMU's command line.
    fn words(&self, names: &[String]) -> Vec<OsString> {
        let fast = has_virtualisation();
        let mut words: Vec<OsString> = Vec::new();
        let mut say = |text: &str| words.extend(text.split(' ').map(OsString::from));
        if fast {
            say("-machine q35 -accel kvm -cpu host");
        } else {
            say("-machine q35 -accel tcg,thread=multi,tb-size=256 -cpu max,la57=off");
        }
        say("-smp 2 -m 3072 -nodefaults -no-user-config -display none -no-reboot");
        say("-device virtio-rng-pci -chardev stdio,id=con -serial chardev:con");
        for (n, (card, segment)) in self.cards.iter().enumerate() {
            say(&format!("-netdev hubport,id=n{n},hubid={segment}"));
            let mac = format!("52:54:00:00:00:{n:02x}");
            // Each behind a port of its own, as cards with functions are.
            let place = n + 16;
            say(&format!(
                "-device pcie-root-port,id=rp{n},bus=pcie.0,chassis={place},slot={place},addr={place:x}"
            ));
            say(&format!(
                "-device {card},bus=rp{n},netdev=n{n},mac={mac},romfile="
            ));
        }
        let mut share = |tag: &str, path: &Path| {
            let mut what = OsString::from(format!(
                "local,id={tag},security_model=none,multidevs=remap,readonly=on,path="
            ));
            what.push(path);
            words.extend(["-fsdev".into(), what, "-device".into()]);
            words.push(format!("virtio-9p-pci,fsdev={tag},mount_tag={tag}").into());
        };
        share("root", Path::new("/"));
        share("modules", &self.modules);
        words.extend(["-kernel".into(), self.kernel.clone().into()]);
        words.extend(["-initrd".into(), self.initramfs.clone().into()]);
        let console = "console=ttyS0 quiet loglevel=1 panic=-1 random.trust_cpu=on mitigations=off nokaslr \
             tsc=reliable no_timer_check rcupdate.rcu_expedited=1 net.ifnames=0";
        words.extend(["-append".into(), console.into()]);
        let job = self.job(names);
        words.extend([
            "-fw_cfg".into(),
            format!("name=opt/sidestep/job,string={job}").into(),
        ]);
        words
    }

    /// What the guest's shell is to do. Commas are QEMU's. What the first test needs is read beforehand: it takes an emulated
    /// processor longer than tests wait.
    fn job(&self, names: &[String]) -> String {
        let path = |path: &Path| path.display().to_string().replace(',', ",,");
        format!(
            "cd {home} && export {PATIENCE} && {bin} --version >/dev/null && python3 -m asyncio </dev/null >/dev/null 2>&1; CARGO_MANIFEST_DIR={home} SIDESTEP_BIN={bin} {tests} --test-threads=1 --color never --ignored {names}",
            home = path(&self.home),
            bin = path(&self.sidestep),
            tests = path(&self.tests),
            names = names.join(" "),
        )
    }
}

fn lines_of(guest: &mut Child) -> anyhow::Result<mpsc::Receiver<String>> {
    let stdout = guest.stdout.take().context("no output")?;
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    Ok(lines)
}

/// Whether guests run on the processor itself.
fn has_virtualisation() -> bool {
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let has = processor
        .split_whitespace()
        .any(|word| ["vmx", "svm"].contains(&word));
    let kvm = std::fs::OpenOptions::new().write(true).open("/dev/kvm");
    has && kvm.is_ok()
}
