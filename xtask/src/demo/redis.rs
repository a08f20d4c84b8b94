//! redis-server and redis-benchmark.

use super::{Samples, Stage, Way};
use crate::chart::{Better, Row};
use crate::children::{Running, free_port};
use crate::packages;
use anyhow::Context as _;
use std::process::Command;

/// Connections, and requests in a round.
const LOADS: [(u32, u32); 2] = [(1, 20_000), (50, 100_000)];
const TESTS: [&str; 2] = ["SET", "GET"];

/// Starts a server for each way and puts load on one after the other.
pub(super) fn rows(stage: &Stage) -> anyhow::Result<Vec<Row>> {
    let mut servers = Vec::new();
    for way in Way::BOTH {
        servers.push(server(stage, way)?);
    }
    let mut samples: Vec<Samples> = Vec::new();
    samples.resize_with(LOADS.len() * TESTS.len(), Samples::default);
    for round in 1..=stage.rounds {
        for (way, (_running, port)) in Way::BOTH.into_iter().zip(&servers) {
            println!(
                "round {round} of {}: redis over {}",
                stage.rounds,
                way.name()
            );
            for ((connections, requests), samples) in
                LOADS.into_iter().zip(samples.chunks_mut(TESTS.len()))
            {
                let rates = benchmark(stage, way, *port, connections, requests)?;
                for (samples, rate) in samples.iter_mut().zip(rates) {
                    samples.add(way, rate);
                }
            }
        }
    }
    let names = LOADS.into_iter().flat_map(|(connections, _)| {
        TESTS.map(|test| match connections {
            1 => format!("redis {test}, 1 connection"),
            _ => format!("redis {test}, {connections} connections"),
        })
    });
    let rows = names.zip(&samples);
    Ok(rows
        .map(|(name, samples)| samples.row(&name, "requests/s", Better::Higher))
        .collect())
}

fn server(stage: &Stage, way: Way) -> anyhow::Result<(Running, u16)> {
    let port = free_port()?;
    let log = stage.log(&format!("redis-{}.log", way.name()));
    let program = packages::find("redis-server").context("redis-server is gone")?;
    let mut command = stage.program(way, program);
    command.args([
        "--port",
        &port.to_string(),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
    ]);
    command
        .args(["--appendonly", "no", "--daemonize", "no", "--dir"])
        .arg(stage.scratch.path());
    let mut server = Running::start(&mut command, &log)?;
    server.wait_listening(port, &log)?;
    Ok((server, port))
}

fn benchmark(
    stage: &Stage,
    way: Way,
    port: u16,
    connections: u32,
    requests: u32,
) -> anyhow::Result<[f64; TESTS.len()]> {
    let program = packages::find("redis-benchmark").context("redis-benchmark is gone")?;
    let mut command: Command = stage.program(way, program);
    command.args([
        "-h",
        "127.0.0.1",
        "-p",
        &port.to_string(),
        "-t",
        "set,get",
        "--csv",
    ]);
    command.args(["-c", &connections.to_string(), "-n", &requests.to_string()]);
    let output = stage.load(way, &mut command)?;
    rates(&output).with_context(|| format!("redis-benchmark said:\n{output}"))
}

/// Requests per second of each test, from `"GET","12345.67",…` lines.
pub(super) fn rates(csv: &str) -> Option<[f64; TESTS.len()]> {
    let rate = |test: &str| {
        csv.lines().find_map(|line| {
            let mut fields = line.split(',').map(|field| field.trim_matches('"'));
            (fields.next() == Some(test)).then(|| fields.next()?.parse().ok())?
        })
    };
    Some([rate(TESTS[0])?, rate(TESTS[1])?])
}
