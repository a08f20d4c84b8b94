//! The command as users start it: exit statuses, signals, explanation, agent. No acceleration is needed for these, so
//! a library that every glibc system has stands in for ours.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// A runtime directory, and so an agent, of one test alone.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sidestep-cli-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn command(&self, words: &[&str]) -> Command {
        // Whoever runs the tests in the background may have signals ignored.
        let mut command = Command::new("env");
        command
            .arg("--default-signal")
            .arg(env!("CARGO_BIN_EXE_sidestep"))
            .args(words)
            .env("SIDESTEP_RUNTIME_DIR", self.0.join("run"))
            .env("SIDESTEP_LIBRARY", stand_in())
            .env_remove("LD_PRELOAD")
            .env_remove("SIDESTEP_OFF")
            .stdin(Stdio::null());
        command
    }

    fn output(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    fn sh(&self, run: &[&str], script: &str) -> Output {
        let words: Vec<_> = ["run"]
            .iter()
            .chain(run)
            .chain(&["--", "sh", "-c", script])
            .copied()
            .collect();
        self.output(&words)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.command(&["agent", "stop"]).output();
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A library that can be preloaded into anything: the C library's own, as this process has it mapped.
fn stand_in() -> PathBuf {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let path = maps
        .split_whitespace()
        .find(|word| word.contains("/libc.so"))
        .unwrap();
    Path::new(path).canonicalize().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn status_of_the_program_is_ours() {
    let place = Place::new("status");
    for explain in [&[][..], &["--explain"]] {
        assert_eq!(place.sh(explain, "exit 0").status.code(), Some(0));
        assert_eq!(place.sh(explain, "exit 7").status.code(), Some(7));
        assert_eq!(place.sh(explain, "kill -TERM $$").status.signal(), Some(15));
        assert_eq!(place.sh(explain, "kill -SEGV $$").status.signal(), Some(11));
        assert_eq!(place.sh(explain, "kill -KILL $$").status.signal(), Some(9));
        // Which Rust programs ignore, and must not pass on as ignored.
        assert_eq!(place.sh(explain, "kill -PIPE $$").status.signal(), Some(13));
    }
}

#[test]
fn programs_that_do_not_start() {
    let place = Place::new("start");
    for explain in [&["run"][..], &["run", "--explain"]] {
        let status = |name: &str| {
            let words: Vec<_> = explain.iter().chain(&["--", name]).copied().collect();
            place.output(&words).status.code()
        };
        assert_eq!(status("sidestep-no-such-program"), Some(127));
        assert_eq!(status("/etc/passwd"), Some(126));
        assert_eq!(status("/"), Some(126));
    }
    assert_eq!(place.output(&["run"]).status.code(), Some(2));
    let mut command = place.command(&["run", "--", "true"]);
    let output = command
        .env("SIDESTEP_LIBRARY", "/no/such/library.so")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(text(&output.stderr).starts_with("sidestep: SIDESTEP_LIBRARY=/no/such/library.so"));
}

#[test]
fn environment_of_the_program() {
    let place = Place::new("environment");
    let show = "echo $LD_PRELOAD; echo $SIDESTEP_SPIN_US; echo $SIDESTEP_RUNTIME_DIR";
    let words = ["run", "--profile", "polite", "--", "sh", "-c", show];
    let output = place
        .command(&words)
        .env("LD_PRELOAD", stand_in())
        .output()
        .unwrap();
    let run = place.0.join("run");
    let expected = format!("{}\n0\n{}\n", stand_in().display(), run.display());
    assert_eq!(text(&output.stdout), expected, "{}", text(&output.stderr));
    let output = place
        .command(&words)
        .env("SIDESTEP_OFF", "1")
        .output()
        .unwrap();
    assert_eq!(text(&output.stdout), format!("\n\n{}\n", run.display()));
    assert!(text(&output.stderr).contains("without acceleration"));
}

#[test]
fn a_bad_link_is_looked_at_first_and_passed_on() {
    let place = Place::new("fault");
    let link = "loss=1%,delay=20ms";
    let passed = place.sh(&["--explain", "--fault", link], "echo $SIDESTEP_FAULT");
    assert_eq!(text(&passed.stdout), format!("{link}\n"));
    let said = text(&passed.stderr);
    assert!(said.contains(&format!("see a bad link: {link}")), "{said}");
    let refused = place.sh(&["--fault", "loss=1"], "exit 0");
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("a percentage"));
}

#[test]
fn arguments_and_standard_streams_pass_through() {
    let place = Place::new("streams");
    let script = "cat; echo \"$0|$1|$2\"; echo complaint >&2";
    let mut child = place
        .command(&["run", "--", "sh", "-c", script, "a b", "--json", ""])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"typed\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(text(&output.stdout), "typed\na b|--json|\n");
    assert_eq!(text(&output.stderr), "complaint\n");
}

/// Starts a program under `--explain` that prints a word when it is ready, and waits for that.
fn ready(place: &Place, script: &str) -> Child {
    let mut child = place
        .command(&["run", "--explain", "--", "sh", "-c", script])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut word = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut word).unwrap();
    assert_eq!(&word, b"ready\n");
    child
}

fn kill(child: &Child, signal: &str) {
    let status = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn explaining_parent_passes_signals_on() {
    let place = Place::new("signals");
    let wait = "echo ready; while :; do sleep 0.05; done";
    let mut child = ready(
        &place,
        &format!("trap 'exit 5' TERM; trap 'exit 6' USR1; {wait}"),
    );
    kill(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(5));
    let mut child = ready(&place, &format!("trap 'exit 6' USR1; {wait}"));
    kill(&child, "-USR1");
    assert_eq!(child.wait().unwrap().code(), Some(6));
    let mut child = ready(&place, wait);
    kill(&child, "-INT");
    assert_eq!(child.wait().unwrap().signal(), Some(2));
}

#[test]
fn program_does_not_outlive_a_killed_explainer() {
    let place = Place::new("killed");
    let file = place.0.join("pid");
    let script = format!("echo $$ > {}; echo ready; exec sleep 1000", file.display());
    let mut child = ready(&place, &script);
    let pid = std::fs::read_to_string(&file).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let stat = format!("/proc/{}/stat", pid.trim());
    // The state follows the name in parentheses; Z is one that nobody has waited for yet.
    let gone = || std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
    for _ in 0..500 {
        if gone() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("process {pid} is still there");
}

#[test]
fn explanation_is_printed_or_logged() {
    let place = Place::new("explain");
    let say = r#"bash -c 'echo "{\"pid\":1,\"fd\":3,\"kind\":\"tcp\",\"event\":\"connect\",\"verdict\":\"kernel\",\"reason\":\"a reason\"}" >&$SIDESTEP_EXPLAIN_FD'"#;
    let told = "sidestep: [1] fd 3 tcp connect: kernel, a reason\n";
    let output = place.sh(&["--explain"], say);
    assert!(
        text(&output.stderr).starts_with(told),
        "{}",
        text(&output.stderr)
    );
    let log = place.0.join("log");
    let output = place.sh(&["--explain", "--log", log.to_str().unwrap()], say);
    assert_eq!(text(&output.stderr), "");
    let log = std::fs::read_to_string(log).unwrap();
    assert!(
        log.starts_with(told) && log.ends_with("left to the kernel, 1: a reason\n"),
        "{log}"
    );
}

#[test]
fn agent_is_started_by_need_and_stopped() {
    let place = Place::new("agent");
    assert_eq!(place.output(&["agent", "status"]).status.code(), Some(1));
    let nothing = place.output(&["ps"]);
    assert_eq!(nothing.status.code(), Some(0));
    assert!(text(&nothing.stdout).starts_with("no accelerated programs"));
    let json: serde_json::Value =
        serde_json::from_slice(&place.output(&["ps", "--json"]).stdout).unwrap();
    assert_eq!(json["stacks"], serde_json::json!([]));
    assert!(place.sh(&[], "exit 0").status.success());
    assert_eq!(place.output(&["agent", "status"]).status.code(), Some(0));
    let json: serde_json::Value =
        serde_json::from_slice(&place.output(&["ps", "--json"]).stdout).unwrap();
    assert!(json["agent"]["pid"].as_u64().is_some(), "{json}");
    assert_eq!(place.output(&["agent", "stop"]).status.code(), Some(0));
    for _ in 0..500 {
        if place.output(&["agent", "status"]).status.code() == Some(1) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the agent does not end");
}

#[test]
fn doctor_reports_as_text_and_json() {
    let place = Place::new("doctor");
    let output = place.output(&["doctor"]);
    assert!(
        text(&output.stdout).contains("agent's directory"),
        "{}",
        text(&output.stdout)
    );
    let json: serde_json::Value =
        serde_json::from_slice(&place.output(&["doctor", "--json"]).stdout).unwrap();
    assert_eq!(json["local_works"].as_bool(), Some(output.status.success()));
    let mut command = place.command(&["doctor"]);
    let output = command
        .env("SIDESTEP_LIBRARY", "/no/such/library.so")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn local_pingpong_measures() {
    let place = Place::new("pingpong");
    let words = [
        "pingpong", "--local", "--json", "--sizes", "1,64", "--iter", "100", "--mode", "epoll",
    ];
    let output = place.output(&words);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["results"][1]["size"], 64);
    assert_eq!(json["results"][1]["iterations"], 100);
    assert!(json["results"][0]["p50_ns"].as_u64() > Some(0));
}

#[test]
fn every_command_has_examples_and_statuses() {
    let place = Place::new("help");
    for command in ["run", "ps", "doctor", "agent", "pingpong"] {
        let help = text(&place.output(&[command, "--help"]).stdout);
        assert!(
            help.contains("Examples:") && help.contains("Exit status:"),
            "{help}"
        );
    }
    assert_eq!(place.output(&["nonsense"]).status.code(), Some(2));
}
