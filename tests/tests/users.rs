//! Programs of several users that one agent serves: none gets at what is another's.

use std::time::Duration;

use sidestep_tests::{Mode, Network, Process, Program, World, wait_until};

const SHORT: Duration = Duration::from_secs(20);
const PORT: u16 = 7000;
const LISTED: u32 = 4711;
const UNLISTED: u32 = 4712;

/// A part of `networks.py`.
fn part(python: Program, part: &str, address: &str) -> Program {
    let words = format!("{part} {address} {PORT}");
    python.script("networks.py").args(&words)
}

/// `stranger.py` by that user, under `sidestep run`.
fn stranger(network: &Network, user: u32) -> Program {
    let host = &network.server;
    let enter = format!("--reuid={user} --regid={user} --clear-groups");
    let program = host
        .plain("setpriv")
        .args(&enter)
        .arg(World::sidestep_path());
    let program = program
        .args("run -- /usr/bin/python3")
        .script("stranger.py");
    let program = program.env("SIDESTEP_BIN", World::sidestep_path());
    program.args(&format!("ask {PORT}"))
}

fn ask(network: &Network) {
    let client = part(
        network.client.plain("python3"),
        "ask",
        network.server.address,
    );
    let said = client.run(Duration::from_secs(40)).success().text();
    assert!(said.starts_with("all right"), "{said}");
}

fn wait_said(process: &mut Process, word: &str) {
    wait_until(word, SHORT, || {
        let said = process.stdout().contains(word);
        if !said {
            process.assert_running();
        }
        said.then_some(())
    });
}

/// Another user's program asks for all that there is to be asked of a stack that is not its own, and claims the port that
/// somebody is about to listen at, before and after. One whose user is not served is not even heard.
#[test]
#[ignore = "needs root, ip, ethtool, sysctl, setpriv and python3"]
fn strangers_are_refused() {
    let mut network = Network::new(Mode::Kernel);
    let host = &mut network.server;
    let agent = host.sidestep();
    host.start_agent_by(agent, "xdp:near0", &format!("--user {LISTED}"));
    let host = &network.server;
    // It has connections, wires and queues already; the port that is fought for it has not.
    let victim = host.accelerated("python3").script("stranger.py");
    let file = host.dir().join("taken");
    let victim = victim.args(&format!("serve {PORT}")).arg(&file);
    let mut victim = victim.spawn();
    wait_said(&mut victim, "ready");
    let his = host
        .ps()
        .stacks_of(victim.pid())
        .next()
        .map(|stack| stack.id.clone());
    let his = his.expect("a stack");
    let turned = stranger(&network, UNLISTED).arg(&his).arg(&file).run(SHORT);
    assert_eq!(
        turned.text(),
        "hello: turned away\n",
        "{}",
        turned.error_text()
    );
    let mut stranger = stranger(&network, LISTED).arg(&his).arg(&file).spawn();
    wait_said(&mut stranger, "asked");
    let said = stranger.stdout();
    let mut lines = said.lines();
    assert_eq!(lines.next(), Some("hello: welcome"));
    assert_eq!(lines.next(), Some("claim a free port: done"));
    assert_eq!(lines.next(), Some("publish a free port: done"));
    let asked: Vec<&str> = lines.take_while(|line| *line != "asked").collect();
    assert_eq!(asked.len(), 20, "{said}");
    assert!(
        asked.iter().all(|line| line.ends_with(": not yours")),
        "{said}"
    );
    // The port is whose who listens.
    std::fs::write(&file, "").expect("a file");
    wait_said(&mut victim, "listens");
    ask(&network);
    let said = stranger.wait(SHORT).success().text();
    let rest = said.split_once("asked\n").map(|(_, rest)| rest);
    let refused = "claim a taken port: in use\npublish a taken port: in use\n";
    assert_eq!(rest, Some(refused));
    ask(&network);
    let ps = host.ps();
    ps.assert_network_used(victim.pid());
    assert_eq!(ps.count(victim.pid(), "tcp_accepts"), 16, "{ps:#?}");
    victim.assert_running();
}
