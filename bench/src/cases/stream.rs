//! One TCP stream, as fast as it goes.

use super::{BESIDE_KERNEL, CLIENT_SPAN};
use crate::case::Case;
use crate::lab::{Lab, Listening, free_port};
use crate::model::{Contender, Effort, Figures, Metric, Problem, Unit};

/// One sender, one receiver.
#[derive(Debug)]
pub(super) struct Stream;

impl Case for Stream {
    fn name(&self) -> &'static str {
        "stream"
    }

    fn title(&self) -> &'static str {
        "one TCP stream, 64 KB writes and reads, blocking"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[Metric {
            name: "gbps",
            unit: Unit::Gbps,
        }]
    }

    fn contenders(&self) -> &'static [Contender] {
        BESIDE_KERNEL
    }

    fn measure(&mut self, who: Contender, lab: &Lab, effort: Effort) -> Result<Figures, Problem> {
        let port = free_port()?.to_string();
        let listening = Listening::Tcp(port.parse().unwrap_or(0));
        let _server = lab.serve(
            "sink load",
            lab.load(who, "sink", &["--port", &port])?,
            listening,
        )?;
        let args = ["--port", &port, "--seconds", &effort.seconds.to_string()];
        let (said, moved) = lab.client(
            who,
            "source load",
            lab.load(who, "source", &args)?,
            CLIENT_SPAN,
        )?;
        let (gbps, bytes) = parse(&said.stdout)?;
        if who == Contender::Sidestep {
            moved.at_least(1, bytes)?;
        }
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
