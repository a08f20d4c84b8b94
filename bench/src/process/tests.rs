use super::*;

fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]);
    command
}

#[test]
fn output_and_status_come_back() {
    let program = Program::start("sh", shell("echo out; echo err >&2; exit 3"), None).unwrap();
    let finished = program.finish(Duration::from_secs(5)).unwrap();
    assert_eq!(
        (finished.stdout.as_str(), finished.stderr.as_str()),
        ("out\n", "err\n")
    );
    assert_eq!(finished.status.code(), Some(3));
    let Err(Problem::Failed(why)) = finished.success("sh") else {
        panic!("status 3 is no success")
    };
    assert!(why.contains("err"), "{why}");
}

#[test]
fn a_program_that_does_not_exist_is_missing() {
    let problem =
        Program::start("nonesuch", Command::new("/nonexistent/nonesuch"), None).unwrap_err();
    assert!(matches!(problem, Problem::Missing(_)), "{problem:?}");
    assert!(matches!(
        find_program("nonesuch-program", "nonesuch"),
        Err(Problem::Missing(_))
    ));
}

#[test]
fn one_that_takes_too_long_is_ended() {
    let program = Program::start("sh", shell("exec sleep 60"), None).unwrap();
    let pid = Pid::from_child(&program.child);
    let problem = program.finish(Duration::from_millis(50)).unwrap_err();
    assert!(matches!(problem, Problem::Failed(_)), "{problem:?}");
    assert!(
        rustix::process::test_kill_process(pid).is_err(),
        "it still runs"
    );
}

#[test]
fn a_program_runs_where_it_was_put() {
    let cpus = placement::Cpus::allowed().unwrap();
    let script = "grep Cpus_allowed_list /proc/self/status";
    let program = Program::start("sh", shell(script), Some(cpus.client)).unwrap();
    let finished = program.finish(Duration::from_secs(5)).unwrap();
    assert_eq!(
        finished.stdout.split_whitespace().last(),
        Some(cpus.client.to_string().as_str())
    );
}

#[test]
fn a_temporary_directory_goes_with_its_contents() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().to_owned();
    fs::write(path.join("file"), "x").unwrap();
    drop(dir);
    assert!(!path.exists());
}
