//! What needs no package: `sidestep pingpong`, and python's http.server where there is a python.

use super::{Samples, Stage, Way};
use crate::chart::{Better, Row};
use crate::children::{Running, free_port};
use crate::packages;
use anyhow::Context as _;
use serde_json::Value;

/// A client that asks for the same file for a while, each time on a new connection as this server wants it.
const CLIENT: &str = "
import http.client, sys, time
port, seconds, count = int(sys.argv[1]), float(sys.argv[2]), 0
end = time.monotonic() + seconds
while time.monotonic() < end:
    connection = http.client.HTTPConnection('127.0.0.1', port)
    connection.request('GET', '/page')
    body = connection.getresponse().read()
    assert body == b'x' * 1024, len(body)
    connection.close()
    count += 1
print(count / seconds)
";

/// Measures both.
pub(super) fn rows(stage: &Stage) -> anyhow::Result<Vec<Row>> {
    let mut rows = pingpong(stage)?;
    match packages::find("python3") {
        Some(_) => rows.push(http_server(stage)?),
        None => println!("python3 is not here: its http.server is left out"),
    }
    Ok(rows)
}

fn pingpong(stage: &Stage) -> anyhow::Result<Vec<Row>> {
    const KINDS: [(&str, &str, &[&str]); 3] = [
        ("TCP 32 B, blocking", "blocking", &["--tcp"]),
        ("TCP 32 B, spinning", "spin", &["--tcp"]),
        ("UDP 32 B, spinning", "spin", &["--udp", "--connect"]),
    ];
    let mut rows = Vec::new();
    for (name, mode, words) in KINDS {
        let mut samples = Samples::default();
        for round in 1..=stage.rounds {
            for way in Way::BOTH {
                println!(
                    "round {round} of {}: {name} over {}",
                    stage.rounds,
                    way.name()
                );
                let mut command = stage.program(way, &stage.sidestep);
                command.args([
                    "pingpong", "--local", "--json", "--sizes", "32", "--mode", mode,
                ]);
                command.args(["--duration", "700ms"]).args(words);
                let output = stage.load(way, &mut command)?;
                samples.add(
                    way,
                    median_ns(&output).with_context(|| output.clone())? / 1000.0,
                );
            }
        }
        rows.push(samples.row(&format!("half round trip, {name}"), "µs", Better::Lower));
    }
    Ok(rows)
}

/// The median of the first row.
pub(super) fn median_ns(json: &str) -> Option<f64> {
    let report: Value = serde_json::from_str(json).ok()?;
    report["results"][0]["p50_ns"].as_f64()
}

fn http_server(stage: &Stage) -> anyhow::Result<Row> {
    let site = stage.scratch.path().join("site");
    std::fs::create_dir_all(&site)?;
    std::fs::write(site.join("page"), [b'x'; 1024])?;
    let client = stage.scratch.path().join("client.py");
    std::fs::write(&client, CLIENT)?;
    let mut servers = Vec::new();
    for way in Way::BOTH {
        let port = free_port()?;
        let log = stage.log(&format!("http-{}.log", way.name()));
        let mut command = stage.program(way, "python3");
        command.args([
            "-m",
            "http.server",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--directory",
        ]);
        let mut server = Running::start(command.arg(&site), &log)?;
        server.wait_listening(port, &log)?;
        servers.push((server, port));
    }
    let mut samples = Samples::default();
    for round in 1..=stage.rounds {
        for (way, (_running, port)) in Way::BOTH.into_iter().zip(&servers) {
            println!(
                "round {round} of {}: python's http.server over {}",
                stage.rounds,
                way.name()
            );
            let mut command = stage.program(way, "python3");
            let output = stage.load(way, command.arg(&client).args([&port.to_string(), "1"]))?;
            samples.add(way, output.trim().parse().with_context(|| output.clone())?);
        }
    }
    Ok(samples.row(
        "python http.server, new connections",
        "requests/s",
        Better::Higher,
    ))
}
