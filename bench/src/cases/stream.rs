//! One TCP stream, as fast as it goes.

use super::{BESIDE_KERNEL, CLIENT_SPAN, raw_xdp};
use crate::case::Case;
use crate::ends::{Ends, Place};
use crate::lab::{Lab, Listening};
use crate::model::{Contender, Effort, Figures, Metric, Problem, Unit};

/// One sender, one receiver, and where.
#[derive(Debug)]
pub(super) struct Stream(pub(super) Place);

impl Case for Stream {
    fn name(&self) -> &'static str {
        match self.0 {
            Place::Host => "stream",
            Place::Network => "net_stream",
        }
    }

    fn title(&self) -> &'static str {
        match self.0 {
            Place::Host => "one TCP stream, 64 KB writes and reads, blocking",
            Place::Network => {
                "one TCP stream over veth, MTU 1500, 64 KB writes and reads, blocking"
            }
        }
    }

    fn metrics(&self) -> &'static [Metric] {
        &[Metric {
            name: "gbps",
            unit: Unit::Gbps,
        }]
    }

    fn contenders(&self) -> &'static [Contender] {
        match self.0 {
            Place::Host => BESIDE_KERNEL,
            Place::Network => &[
                Contender::Kernel,
                Contender::KernelWithoutOffloads,
                Contender::Sidestep,
                Contender::RawXdp,
            ],
        }
    }

    fn measure(&mut self, who: Contender, lab: &Lab, effort: Effort) -> Result<Figures, Problem> {
        if who == Contender::RawXdp {
            return raw_xdp::stream_bound(lab, effort);
        }
        let ends = Ends::new(lab, self.0, who)?;
        let (host, port) = (ends.address.to_string(), ends.free_port()?.to_string());
        let listening = Listening::Tcp(port.parse().unwrap_or(0));
        let _server = ends.serve(
            "sink load",
            ends.server
                .load("sink", &["--host", &host, "--port", &port]),
            listening,
        )?;
        let seconds = effort.seconds.to_string();
        let args = ["--host", &host, "--port", &port, "--seconds", &seconds];
        let load = ends.client.load("source", &args);
        let (said, moved) = ends.run("source load", load, CLIENT_SPAN)?;
        let (gbps, bytes) = parse(&said.stdout)?;
        moved.at_least(1, bytes)?;
        Ok(Figures::from([("gbps", gbps)]))
    }
}

/// The rate and how many bytes it is of.
fn parse(json: &str) -> Result<(f64, u64), Problem> {
    let report: serde_json::Value =
        serde_json::from_str(json).map_err(|e| Problem::Failed(format!("source load: {e}")))?;
    let (gbps, bytes) = (report["gbps"].as_f64(), report["bytes"].as_u64());
    gbps.zip(bytes)
        .ok_or_else(|| Problem::Failed("source load says no rate".into()))
}
