//! nginx with its master and a worker, and wrk: a file of 1 KB, over 50 kept connections or over one each.

use super::{CLIENT_SPAN, contenders_at};
use crate::case::Case;
use crate::ends::{Ends, Place};
use crate::lab::{Lab, Listening};
use crate::model::{Contender, Effort, Figures, Metric, Problem, Unit};
use crate::process::{Program, TempDir, find_program};
use std::fs;
use std::net::SocketAddrV4;
use std::path::Path;

const CONNECTIONS: &str = "50";
const FILE_BYTES: usize = 1024;

/// Kept connections or not, and where.
#[derive(Debug)]
pub(super) struct Nginx {
    place: Place,
    keepalive: bool,
}

impl Nginx {
    /// Requests on kept connections.
    pub(super) const fn keepalive(place: Place) -> Self {
        Self {
            place,
            keepalive: true,
        }
    }

    /// A connection for each request.
    pub(super) const fn connections(place: Place) -> Self {
        Self {
            place,
            keepalive: false,
        }
    }
}

impl Case for Nginx {
    fn name(&self) -> &'static str {
        match (self.place, self.keepalive) {
            (Place::Host, true) => "nginx_keepalive",
            (Place::Host, false) => "nginx_connections",
            (Place::Network, true) => "net_nginx_keepalive",
            (Place::Network, false) => "net_nginx_connections",
        }
    }

    fn title(&self) -> &'static str {
        match (self.place, self.keepalive) {
            (Place::Host, true) => "nginx and wrk, 1 KB, 50 kept connections",
            (Place::Host, false) => "nginx and wrk, 1 KB, a connection for each request",
            (Place::Network, true) => "nginx and wrk over veth, 1 KB, 50 kept connections",
            (Place::Network, false) => {
                "nginx and wrk over veth, 1 KB, a connection for each request"
            }
        }
    }

    fn metrics(&self) -> &'static [Metric] {
        &[Metric {
            name: "per_second",
            unit: Unit::PerSecond,
        }]
    }

    fn contenders(&self) -> &'static [Contender] {
        match (self.place, self.keepalive) {
            (Place::Network, true) => &[
                Contender::Kernel,
                Contender::Sidestep,
                Contender::SidestepServer,
                Contender::TwoStacks,
            ],
            _ => contenders_at(self.place),
        }
    }

    fn measure(&mut self, who: Contender, lab: &Lab, effort: Effort) -> Result<Figures, Problem> {
        let nginx = find_program("nginx", "nginx-light")?;
        let wrk = find_program("wrk", "wrk")?;
        let ends = Ends::new(lab, self.place, who)?;
        let listen = SocketAddrV4::new(ends.address, ends.free_port()?);
        let count = if who == Contender::TwoStacks { 2 } else { 1 };
        let servers = (1..=count).map(|n| serve(&ends, &nginx, listen, (n, count)));
        let _servers = servers.collect::<Result<Vec<_>, _>>()?;

        let mut command = ends.client.command(&wrk);
        command.args([
            "-t",
            "1",
            "-c",
            CONNECTIONS,
            "-d",
            &format!("{:.0}s", effort.seconds.ceil()),
        ]);
        if !self.keepalive {
            command.args(["-H", "Connection: close"]);
        }
        command.arg(format!("http://{listen}/file"));
        let (said, moved) = ends.run("wrk", command, CLIENT_SPAN)?;
        let (per_second, requests) = parse(&said.stdout)?;
        // Of several stacks the busiest did its part at least.
        let part = requests / count as u64;
        moved.at_least(part, part * FILE_BYTES as u64)?;
        Ok(Figures::from([("per_second", per_second)]))
    }
}

/// Starts the nth of so many servers, with a directory of its own; the directory goes with the value, after the server.
fn serve(
    ends: &Ends<'_>,
    nginx: &Path,
    listen: SocketAddrV4,
    (n, count): (usize, usize),
) -> Result<(Program, TempDir), Problem> {
    let dir = TempDir::new()?;
    fs::write(dir.path().join("file"), vec![b'x'; FILE_BYTES])?;
    fs::write(
        dir.path().join("nginx.conf"),
        config(dir.path(), listen, count > 1),
    )?;
    let mut command = ends.server.command(nginx);
    command
        .arg("-p")
        .arg(dir.path())
        .arg("-e")
        .arg(dir.path().join("error.log"));
    command.arg("-c").arg(dir.path().join("nginx.conf"));
    let server = ends.serve("nginx", command, Listening::SharedTcp(listen.port(), n))?;
    Ok((server, dir))
}

/// A server of one directory: as little configuration as puts all of it under that directory.
fn config(dir: &Path, listen: SocketAddrV4, shared: bool) -> String {
    let dir = dir.display();
    let shared = if shared { " reuseport" } else { "" };
    // As root, the workers would otherwise be somebody else, who cannot enter the directory.
    let user = if rustix::process::geteuid().is_root() {
        "user root;"
    } else {
        ""
    };
    format!(
        "{user} daemon off; worker_processes 1; pid {dir}/pid; error_log {dir}/error.log;
        events {{ worker_connections 1024; }}
        http {{
            access_log off; keepalive_requests 1000000000;
            client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
            uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
            server {{ listen {listen}{shared}; root {dir}; }}
        }}"
    )
}

/// Requests in a second and in all, as wrk says; errors make it invalid.
fn parse(said: &str) -> Result<(f64, u64), Problem> {
    for sign in ["Socket errors", "Non-2xx"] {
        if let Some(line) = said.lines().find(|l| l.trim_start().starts_with(sign)) {
            return Err(Problem::Invalid(format!("wrk: {}", line.trim())));
        }
    }
    let rate = said
        .lines()
        .find_map(|l| l.trim().strip_prefix("Requests/sec:")?.trim().parse().ok());
    let count = said
        .lines()
        .find_map(|l| l.trim().split_once(" requests in ")?.0.parse().ok());
    rate.zip(count)
        .ok_or_else(|| Problem::Failed("wrk says no rate".into()))
}

#[cfg(test)]
mod tests;
