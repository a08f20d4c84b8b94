//! Compiles the programs for the kernel's virtual machine. Whoever builds without clang gets everything but those: empty
//! objects, of which `Steering::attach` and `Relay::attach` say what to do.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Objects, what each is compiled from, and what is defined for it.
const PROGRAMS: [(&str, &str, &[&str]); 4] = [
    ("steer", "steer", &[]),
    ("relay", "relay", &[]),
    ("steer-tc", "steer", &["-DTRAFFIC_CONTROL"]),
    ("cable", "cable", &[]),
];

fn main() {
    println!("cargo::rerun-if-changed=bpf");
    println!("cargo::rerun-if-env-changed=CLANG");
    let Some(out) = env::var_os("OUT_DIR").map(PathBuf::from) else {
        println!("cargo::error=OUT_DIR is not set: run this through cargo");
        return;
    };
    for (object, source, defines) in PROGRAMS {
        compile(
            &format!("bpf/{source}.c"),
            defines,
            &out.join(object).with_extension("o"),
        );
    }
}

fn compile(source: &str, defines: &[&str], object: &Path) {
    let clang = env::var_os("CLANG").unwrap_or_else(|| "clang".into());
    let built = Command::new(&clang)
        .args([
            "-target",
            "bpfel",
            "-mcpu=v3",
            "-O2",
            "-g",
            "-ffreestanding",
        ])
        .args(["-nostdinc", "-Wall", "-Wextra", "-Werror"])
        .args(defines)
        .args(["-c", source, "-o"])
        .arg(object)
        .output();
    match built {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            for line in String::from_utf8_lossy(&output.stderr).lines() {
                println!("cargo::error={line}");
            }
        }
        Err(error) => leave_out(object, &format!("{}: {error}", clang.display())),
    }
}

/// Makes an object of no bytes.
fn leave_out(object: &Path, why: &str) {
    // A file that is never there has the next build look for clang again.
    println!(
        "cargo::rerun-if-changed={}",
        object.with_extension("never").display()
    );
    println!("cargo::warning=built without AF_XDP steering: {why} (Debian: apt-get install clang)");
    if let Err(error) = fs::write(object, []) {
        println!("cargo::error={}: {error}", object.display());
    }
}
