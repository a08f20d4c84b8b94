//! Half round trips of `sidestep pingpong`, which is a plain sockets program.

use super::{BESIDE_KERNEL, CLIENT_SPAN, raw_memif, raw_xdp, smoltcp_rtt};
use crate::case::Case;
use crate::ends::{Ends, Place};
use crate::lab::{Lab, Listening};
use crate::model::{Contender, Effort, Figures, Metric, Problem, Unit};
use serde_json::Value;
use std::collections::BTreeMap;

const METRICS: &[Metric] = &[
    Metric {
        name: "p50_ns",
        unit: Unit::Ns,
    },
    Metric {
        name: "p99_ns",
        unit: Unit::Ns,
    },
    Metric {
        name: "p999_ns",
        unit: Unit::Ns,
    },
    Metric {
        name: "max_ns",
        unit: Unit::Ns,
    },
];

const MESSAGE_BYTES: usize = 32;

/// How pingpong is told of datagrams.
const UDP_SPIN: &[&str] = &["--mode", "spin", "--udp", "--connect"];

/// Untimed round trips in a contender's first round, before it is known how many fill the warm-up.
const FIRST_WARMUP: u64 = 5_000;

/// A protocol, a way of waiting, and a place.
#[derive(Debug)]
pub(super) struct Rtt {
    name: &'static str,
    title: &'static str,
    place: Place,
    /// What `pingpong client` is told.
    args: &'static [&'static str],
    contenders: &'static [Contender],
    /// Half a round trip of each contender when last measured.
    half_ns: BTreeMap<Contender, f64>,
}

impl Rtt {
    /// TCP, both sides spinning.
    pub(super) fn tcp_spin() -> Self {
        let title = "TCP half round trip of 32 B, unmodified program, both sides spinning";
        let contenders = &[
            Contender::Kernel,
            Contender::Sidestep,
            Contender::Smoltcp,
            Contender::RawMemif,
        ];
        Self {
            contenders,
            ..Self::new("tcp_rtt_spin", title, &["--mode", "spin"])
        }
    }

    /// TCP, both sides blocking.
    pub(super) fn tcp_blocking() -> Self {
        let title = "TCP half round trip of 32 B, unmodified program, blocking, untuned";
        Self::new("tcp_rtt_blocking", title, &["--mode", "blocking"])
    }

    /// UDP, both sides spinning.
    pub(super) fn udp_spin() -> Self {
        let title = "UDP half round trip of 32 B, unmodified program, both sides spinning";
        let contenders = &[Contender::Kernel, Contender::Sidestep, Contender::RawMemif];
        Self {
            contenders,
            ..Self::new("udp_rtt_spin", title, UDP_SPIN)
        }
    }

    /// TCP over veth, both sides spinning.
    pub(super) fn net_tcp_spin() -> Self {
        let title =
            "TCP half round trip of 32 B over veth, unmodified program, both sides spinning";
        let contenders = &[Contender::Kernel, Contender::Sidestep, Contender::RawXdp];
        Self {
            contenders,
            place: Place::Network,
            ..Self::new("net_tcp_rtt_spin", title, &["--mode", "spin"])
        }
    }

    /// TCP over veth, both sides blocking.
    pub(super) fn net_tcp_blocking() -> Self {
        let title = "TCP half round trip of 32 B over veth, unmodified program, blocking, untuned";
        Self {
            place: Place::Network,
            ..Self::new("net_tcp_rtt_blocking", title, &["--mode", "blocking"])
        }
    }

    /// UDP over veth, both sides spinning.
    pub(super) fn net_udp_spin() -> Self {
        let title =
            "UDP half round trip of 32 B over veth, unmodified program, both sides spinning";
        Self {
            place: Place::Network,
            ..Self::new("net_udp_rtt_spin", title, UDP_SPIN)
        }
    }

    fn new(name: &'static str, title: &'static str, args: &'static [&'static str]) -> Self {
        Self {
            name,
            title,
            place: Place::Host,
            args,
            contenders: BESIDE_KERNEL,
            half_ns: BTreeMap::new(),
        }
    }

    /// Round trips that fill the warm-up.
    fn warmup(&self, who: Contender, effort: Effort) -> u64 {
        let Some(half_ns) = self.half_ns.get(&who) else {
            return FIRST_WARMUP;
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number of round trips"
        )]
        let count = (effort.warmup_seconds * 1e9 / (2.0 * half_ns.max(50.0))) as u64;
        count
    }
}

impl Case for Rtt {
    fn name(&self) -> &'static str {
        self.name
    }

    fn title(&self) -> &'static str {
        self.title
    }

    fn metrics(&self) -> &'static [Metric] {
        METRICS
    }

    fn contenders(&self) -> &'static [Contender] {
        self.contenders
    }

    fn measure(&mut self, who: Contender, lab: &Lab, effort: Effort) -> Result<Figures, Problem> {
        match who {
            Contender::Smoltcp => return smoltcp_rtt::measure(MESSAGE_BYTES, lab, effort),
            Contender::RawMemif => return raw_memif::half_round_trips(lab, effort),
            Contender::RawXdp => return raw_xdp::half_round_trips(lab, effort),
            _ => {}
        }
        let binary = lab.binary.clone()?;
        let ends = Ends::new(lab, self.place, who)?;
        let port = ends.free_port()?;
        let address = format!("{}:{port}", ends.address);
        let mut server = ends.server.command(&binary);
        server.args(["pingpong", "server", "--listen", &address]);
        let _server = ends.serve("pingpong server", server, Listening::Tcp(port))?;

        let warmup = self.warmup(who, effort);
        let mut client = ends.client.command(&binary);
        client.args([
            "pingpong",
            "client",
            &address,
            "--sizes",
            &MESSAGE_BYTES.to_string(),
            "--json",
            "--iter",
            "1000000000",
        ]);
        client.args([
            "--duration",
            &format!("{}ms", effort.seconds * 1e3),
            "--warmup",
            &warmup.to_string(),
        ]);
        client.args(self.args);
        let (said, moved) = ends.run("pingpong client", client, CLIENT_SPAN)?;
        let (figures, iterations) = parse(&said.stdout)?;
        moved.at_least(2 * iterations, 0)?;
        self.half_ns.insert(who, figures["p50_ns"]);
        Ok(figures)
    }
}

/// The figures in pingpong's JSON, and how many round trips they are of.
fn parse(json: &str) -> Result<(Figures, u64), Problem> {
    let nonsense = |what: &str| Problem::Failed(format!("pingpong --json: {what}"));
    let report: Value = serde_json::from_str(json).map_err(|e| nonsense(&e.to_string()))?;
    let row = &report["results"][0];
    let mut figures = Figures::new();
    for metric in METRICS {
        let x = row[metric.name]
            .as_f64()
            .ok_or_else(|| nonsense(&format!("no {}", metric.name)))?;
        figures.insert(metric.name, x);
    }
    let iterations = row["iterations"]
        .as_u64()
        .ok_or_else(|| nonsense("no iterations"))?;
    if row["lost"].as_u64().unwrap_or(0) * 100 > iterations {
        return Err(Problem::Invalid(
            "more than one datagram in a hundred was lost".into(),
        ));
    }
    Ok((figures, iterations))
}

#[cfg(test)]
mod tests;
