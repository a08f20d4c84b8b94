//! The guest's first files: busybox, the modules by which it reaches this machine's files, and what it does then.

use crate::packages;
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules to begin with, in the order in which they are loaded.
const MODULES: [&str; 3] = ["9pnet_virtio", "9p", "overlay"];
/// Modules of the tests.
const LATER: &str = "veth 8021q bonding macvlan bridge virtio_net e1000e igb xsk_diag tun dummy af_packet sch_netem";

/// Writes the archive that the kernel unpacks.
pub(super) fn write(directory: &Path, modules: &Path) -> anyhow::Result<PathBuf> {
    let busybox = packages::find("busybox").context("no busybox")?;
    let mut archive = Archive::default();
    for name in ["bin", "dev", "proc", "sys", "lower", "layer", "files"] {
        archive.add(name, 0o040_755, &[]);
    }
    archive.add("bin/busybox", 0o100_755, &fs::read(busybox)?);
    let mut script = String::from(INIT_BEGINS);
    for module in in_order(modules)? {
        let name = format!("{module}.ko");
        let path = find(modules, &module).with_context(|| format!("no module {module}"))?;
        archive.add(&name, 0o100_644, &fs::read(path)?);
        script.push_str(&format!("insmod /{name}\n"));
    }
    script.push_str(INIT_CONTINUES);
    script.push_str(&format!(
        "for m in {LATER}; do modprobe $m; done 2>/dev/null\n"
    ));
    script.push_str(INIT_ENDS);
    archive.add("init", 0o100_755, script.as_bytes());
    let path = directory.join("initramfs");
    fs::write(&path, archive.finish())?;
    Ok(path)
}

const INIT_BEGINS: &str = r"#!/bin/busybox sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev; mount -t proc proc /proc; mount -t sysfs sys /sys
stty -F /dev/ttyS0 -opost
";

/// This machine's files with a layer of memory upon them; processes 1 itself changes there, and so does what the kernel
/// starts to load modules.
const INIT_CONTINUES: &str = r"O=trans=virtio,version=9p2000.L,msize=512000,ro,cache=loose
mount -t 9p -o $O root /lower
mount -t tmpfs layer /layer; mkdir /layer/upper /layer/work
mount -t overlay -o lowerdir=/lower,upperdir=/layer/upper,workdir=/layer/work,metacopy=off,index=off overlay /files
for d in dev proc sys; do mount --rbind /$d /files/$d; done
mkdir -p /files/lib/modules; mount -t 9p -o $O modules /files/lib/modules
mkdir -p /files/dev/shm /files/dev/pts; mount -t tmpfs shm /files/dev/shm; mount -t devpts pts /files/dev/pts
mount -t bpf bpf /files/sys/fs/bpf; mount -t tmpfs run /files/run
ln -sf /proc/self/fd /files/dev/fd
cp /bin/busybox /files/run/busybox; ln -s busybox /files/run/modprobe
echo /run/modprobe >/proc/sys/kernel/modprobe
exec chroot /files /run/busybox sh -c '
modprobe() { /run/busybox modprobe $1; }
";

const INIT_ENDS: &str = r#"
/run/busybox ip link set lo up
ulimit -l unlimited; ulimit -c 0; hostname guest
modprobe qemu_fw_cfg
exec >/dev/ttyS0 2>&1 </dev/null
echo "guest: ready"
/bin/sh -c "$(cat /sys/firmware/qemu_fw_cfg/by_name/opt/sidestep/job/raw)"
/run/busybox sleep 0.2
echo b >/proc/sysrq-trigger
'
"#;

/// The first modules, each after those that it needs.
fn in_order(modules: &Path) -> anyhow::Result<Vec<String>> {
    let list = find_file(modules, "modules.dep").context("no modules.dep")?;
    let list = fs::read_to_string(list)?;
    let needs: BTreeMap<String, Vec<String>> = list
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(of, needs)| (name_of(of), needs.split_whitespace().map(name_of).collect()))
        .collect();
    let mut ordered = Vec::new();
    for module in MODULES {
        // What a module needs most is named last.
        let of = needs.get(module).into_iter().flatten().rev();
        for name in of.cloned().chain([module.to_owned()]) {
            if needs.contains_key(&name) && !ordered.contains(&name) {
                ordered.push(name);
            }
        }
    }
    Ok(ordered)
}

fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.trim_end_matches(".ko").replace('-', "_")
}

fn find(modules: &Path, module: &str) -> Option<PathBuf> {
    find_by(modules, &|name| {
        name.ends_with(".ko") && name_of(name) == module
    })
}

fn find_file(directory: &Path, name: &str) -> Option<PathBuf> {
    find_by(directory, &|found| found == name)
}

fn find_by(directory: &Path, is_it: &dyn Fn(&str) -> bool) -> Option<PathBuf> {
    let entries = fs::read_dir(directory).ok()?;
    entries.filter_map(Result::ok).find_map(|entry| {
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_directory {
            return find_by(&entry.path(), is_it);
        }
        is_it(entry.file_name().to_str()?).then(|| entry.path())
    })
}

/// An archive as cpio writes it in its "newc" format.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: usize,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let fields = [
            self.entries,
            mode as usize,
            0,
            0,
            1,
            0,
            content.len(),
            0,
            0,
            0,
            0,
            name.len() + 1,
            0,
        ];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes().chain([0]));
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, &[]);
        self.bytes
    }
}
