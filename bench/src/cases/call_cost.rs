//! What one `send` and one `recv` cost their caller: time, and instructions as callgrind counts them.

use super::{BESIDE_KERNEL, CLIENT_SPAN};
use crate::case::Case;
use crate::ends::{Ends, Place};
use crate::lab::{Lab, Listening};
use crate::model::{Contender, Effort, Figures, Metric, Problem, Unit};
use crate::process::{TempDir, find_program};
use serde_json::Value;
use std::fs;

/// Calls of each kind whose median counts, for each second of effort.
const CALLS_PER_SECOND: f64 = 20_000.0;
/// Time that an answer has to arrive in before it is asked for; far more than any side needs.
const GAP_US: &str = "30";
/// Calls that callgrind counts, and their gap: a program runs some fifty times slower under it.
const COUNTED_CALLS: u32 = 1_000;
const COUNTED_GAP_US: &str = "300";

/// Nanoseconds.
#[derive(Debug)]
pub(super) struct CallCost;

impl Case for CallCost {
    fn name(&self) -> &'static str {
        "call_cost"
    }

    fn title(&self) -> &'static str {
        "one send and one recv of 32 B over TCP, time in the caller, median"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[
            Metric {
                name: "send_ns",
                unit: Unit::Ns,
            },
            Metric {
                name: "recv_ns",
                unit: Unit::Ns,
            },
        ]
    }

    fn contenders(&self) -> &'static [Contender] {
        BESIDE_KERNEL
    }

    fn measure(&mut self, who: Contender, lab: &Lab, effort: Effort) -> Result<Figures, Problem> {
        let ends = Ends::new(lab, Place::Host, who)?;
        let port = ends.free_port()?.to_string();
        let listening = Listening::Tcp(port.parse().unwrap_or(0));
        let _server = ends.serve(
            "echo load",
            ends.server.load("echo", &["--port", &port]),
            listening,
        )?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number of calls"
        )]
        let calls = (effort.seconds * CALLS_PER_SECOND) as u64;
        let args = [
            "--port",
            &port,
            "--warmup",
            "2000",
            "--count",
            &calls.to_string(),
            "--gap-us",
            GAP_US,
        ];
        let load = ends.client.load("calls", &args);
        let (said, moved) = ends.run("calls load", load, CLIENT_SPAN)?;
        moved.at_least(2 * calls, 0)?;
        parse(&said.stdout)
    }
}

/// The figures in the load's JSON.
fn parse(json: &str) -> Result<Figures, Problem> {
    let nonsense = |what: &str| Problem::Failed(format!("calls load: {what}"));
    let report: Value = serde_json::from_str(json).map_err(|e| nonsense(&e.to_string()))?;
    if report["late"].as_u64() > report["calls"].as_u64().map(|calls| calls / 2) {
        return Err(Problem::Invalid(
            "most answers took longer than the pause before they are asked for".into(),
        ));
    }
    let figure = |name: &str| {
        report[name]
            .as_f64()
            .ok_or_else(|| nonsense(&format!("no {name}")))
    };
    Ok(Figures::from([
        ("send_ns", figure("send_ns")?),
        ("recv_ns", figure("recv_ns")?),
    ]))
}

/// Instructions in user space; the kernel's are out of callgrind's sight, so it has no figure to set beside.
#[derive(Debug)]
pub(super) struct CallInstructions;

impl Case for CallInstructions {
    fn name(&self) -> &'static str {
        "call_instructions"
    }

    fn title(&self) -> &'static str {
        "one send and one recv of 32 B over TCP, instructions in user space by callgrind"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[
            Metric {
                name: "send_instructions",
                unit: Unit::Instructions,
            },
            Metric {
                name: "recv_instructions",
                unit: Unit::Instructions,
            },
        ]
    }

    fn contenders(&self) -> &'static [Contender] {
        &[Contender::Sidestep]
    }

    fn measure(&mut self, who: Contender, lab: &Lab, _: Effort) -> Result<Figures, Problem> {
        let send = counted(who, lab, "send")?;
        let recv = counted(who, lab, "recv")?;
        Ok(Figures::from([
            ("send_instructions", send),
            ("recv_instructions", recv),
        ]))
    }
}

/// Instructions in one call of the function.
fn counted(who: Contender, lab: &Lab, function: &str) -> Result<f64, Problem> {
    let valgrind = find_program("valgrind", "valgrind")?;
    let dir = TempDir::new()?;
    let out = dir.path().join("callgrind.out");
    let ends = Ends::new(lab, Place::Host, who)?;
    let port = ends.free_port()?.to_string();
    let listening = Listening::Tcp(port.parse().unwrap_or(0));
    let _server = ends.serve(
        "echo load",
        ends.server.load("echo", &["--port", &port]),
        listening,
    )?;

    let mut client = ends.client.command(&valgrind);
    client.args(["--tool=callgrind", "--collect-atstart=no"]);
    client.arg(format!("--toggle-collect={function}"));
    client.arg(format!("--callgrind-out-file={}", out.display()));
    client
        .arg(&lab.exe)
        .args(["load", "calls", "--port", &port]);
    client.args([
        "--count",
        &COUNTED_CALLS.to_string(),
        "--gap-us",
        COUNTED_GAP_US,
    ]);
    let (said, moved) = ends.run("calls load under valgrind", client, CLIENT_SPAN)?;
    moved.at_least(u64::from(2 * COUNTED_CALLS), 0)?;
    let text = fs::read_to_string(&out)?;
    let total = total_instructions(&text)
        .ok_or_else(|| Problem::Failed(format!("callgrind counted nothing in {function}")))?;
    let calls = calls_made(&said.stdout, function)
        .ok_or_else(|| Problem::Failed("calls load: no number of calls".into()))?;
    Ok(total / calls)
}

/// How often the load called the function in all.
fn calls_made(json: &str, function: &str) -> Option<f64> {
    let report: Value = serde_json::from_str(json).ok()?;
    report[if function == "send" {
        "calls"
    } else {
        "recv_calls"
    }]
    .as_f64()
}

/// The sum that a callgrind output file ends with; none if it is zero.
pub(super) fn total_instructions(text: &str) -> Option<f64> {
    let line = text.lines().rev().find_map(|l| {
        l.strip_prefix("totals:")
            .or_else(|| l.strip_prefix("summary:"))
    })?;
    line.trim().parse().ok().filter(|&total: &f64| total > 0.0)
}

#[cfg(test)]
mod tests;
