//! redis-server and redis-benchmark, as the distribution ships them: GET and SET without pipelining.

use super::{CLIENT_SPAN, contenders_at};
use crate::case::Case;
use crate::ends::{Ends, Place};
use crate::lab::{Lab, Listening};
use crate::model::{Contender, Effort, Figures, Metric, Problem, Unit};
use crate::process::{TempDir, find_program};
use std::collections::BTreeMap;

/// Requests of each kind in a contender's first round, before its rate is known.
const FIRST_REQUESTS: f64 = 10_000.0;

/// So many connections, and where.
#[derive(Debug)]
pub(super) struct Redis {
    place: Place,
    connections: u32,
    /// The lesser rate of each contender when last measured.
    per_second: BTreeMap<Contender, f64>,
}

impl Redis {
    /// One connection, or fifty.
    pub(super) fn new(place: Place, connections: u32) -> Self {
        Self {
            place,
            connections,
            per_second: BTreeMap::new(),
        }
    }

    fn requests(&self, who: Contender, effort: Effort) -> u64 {
        // Two kinds of request share the time.
        let wanted = self
            .per_second
            .get(&who)
            .map_or(FIRST_REQUESTS, |rate| rate * effort.seconds / 2.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number of requests"
        )]
        let count = wanted.max(FIRST_REQUESTS) as u64;
        count
    }
}

impl Case for Redis {
    fn name(&self) -> &'static str {
        match (self.place, self.connections) {
            (Place::Host, 1) => "redis_c1",
            (Place::Host, _) => "redis_c50",
            (Place::Network, 1) => "net_redis_c1",
            (Place::Network, _) => "net_redis_c50",
        }
    }

    fn title(&self) -> &'static str {
        match (self.place, self.connections) {
            (Place::Host, 1) => "redis-benchmark GET and SET, 1 connection, no pipelining",
            (Place::Host, _) => "redis-benchmark GET and SET, 50 connections, no pipelining",
            (Place::Network, 1) => {
                "redis-benchmark GET and SET over veth, 1 connection, no pipelining"
            }
            (Place::Network, _) => {
                "redis-benchmark GET and SET over veth, 50 connections, no pipelining"
            }
        }
    }

    fn metrics(&self) -> &'static [Metric] {
        &[
            Metric {
                name: "get_per_second",
                unit: Unit::PerSecond,
            },
            Metric {
                name: "set_per_second",
                unit: Unit::PerSecond,
            },
        ]
    }

    fn contenders(&self) -> &'static [Contender] {
        contenders_at(self.place)
    }

    fn measure(&mut self, who: Contender, lab: &Lab, effort: Effort) -> Result<Figures, Problem> {
        let server = find_program("redis-server", "redis-server")?;
        let benchmark = find_program("redis-benchmark", "redis-tools")?;
        let dir = TempDir::new()?;
        let ends = Ends::new(lab, self.place, who)?;
        let port = ends.free_port()?;
        let (address, port_arg) = (ends.address.to_string(), port.to_string());
        let mut command = ends.server.command(&server);
        command.args([
            "--port",
            &port_arg,
            "--bind",
            &address,
            "--protected-mode",
            "no",
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        command.arg("--dir").arg(dir.path());
        let _server = ends.serve("redis-server", command, Listening::Tcp(port))?;

        let requests = self.requests(who, effort);
        let mut command = ends.client.command(&benchmark);
        command.args(["-h", &address, "-p", &port_arg, "-t", "get,set", "--csv"]);
        command.args([
            "-c",
            &self.connections.to_string(),
            "-n",
            &requests.to_string(),
        ]);
        let (said, moved) = ends.run("redis-benchmark", command, CLIENT_SPAN)?;
        // Each of the 2 × requests has a frame to itself and one with its answer when there is one connection; with
        // many, answers may share frames.
        moved.at_least(
            if self.connections == 1 {
                4 * requests
            } else {
                requests
            },
            0,
        )?;
        let figures = parse(&said.stdout)?;
        self.per_second.insert(
            who,
            figures["get_per_second"].min(figures["set_per_second"]),
        );
        Ok(figures)
    }
}

/// The rates in redis-benchmark's CSV.
fn parse(csv: &str) -> Result<Figures, Problem> {
    let rate = |test: &str| {
        csv.lines()
            .map(|line| line.split(',').map(|field| field.trim().trim_matches('"')))
            .find_map(|mut fields| {
                (fields.next() == Some(test))
                    .then(|| fields.next()?.parse::<f64>().ok())
                    .flatten()
            })
            .ok_or_else(|| Problem::Failed(format!("redis-benchmark --csv has no line for {test}")))
    };
    Ok(Figures::from([
        ("get_per_second", rate("GET")?),
        ("set_per_second", rate("SET")?),
    ]))
}

#[cfg(test)]
mod tests;
