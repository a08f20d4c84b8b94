//! nginx with its master and a worker, and wrk: a file of 1 KB, over 50 kept connections or over one each.

use super::{BESIDE_KERNEL, CLIENT_SPAN};
use crate::case::Case;
use crate::lab::{Lab, Listening, free_port};
use crate::model::{Contender, Effort, Figures, Metric, Problem, Unit};
use crate::process::{TempDir, find_program};
use std::fs;
use std::path::Path;

const CONNECTIONS: &str = "50";
const FILE_BYTES: usize = 1024;

/// Kept connections or not.
#[derive(Debug)]
pub(super) struct Nginx {
    keepalive: bool,
}

impl Nginx {
    /// Requests on kept connections.
    pub(super) const fn keepalive() -> Self {
        Self { keepalive: true }
    }

    /// A connection for each request.
    pub(super) const fn connections() -> Self {
        Self { keepalive: false }
    }
}

impl Case for Nginx {
    fn name(&self) -> &'static str {
        if self.keepalive {
            "nginx_keepalive"
        } else {
            "nginx_connections"
        }
    }

    fn title(&self) -> &'static str {
        if self.keepalive {
            "nginx and wrk, 1 KB, 50 kept connections"
        } else {
            "nginx and wrk, 1 KB, a connection for each request"
        }
    }

    fn metrics(&self) -> &'static [Metric] {
        &[Metric {
            name: "per_second",
            unit: Unit::PerSecond,
        }]
    }

    fn contenders(&self) -> &'static [Contender] {
        BESIDE_KERNEL
    }

    fn measure(&mut self, who: Contender, lab: &Lab, effort: Effort) -> Result<Figures, Problem> {
        let nginx = find_program("nginx", "nginx-light")?;
        let wrk = find_program("wrk", "wrk")?;
        let dir = TempDir::new()?;
        let port = free_port()?;
        fs::write(dir.path().join("file"), vec![b'x'; FILE_BYTES])?;
        fs::write(dir.path().join("nginx.conf"), config(dir.path(), port))?;
        let mut command = lab.command(who, &nginx)?;
        command
            .arg("-p")
            .arg(dir.path())
            .arg("-e")
            .arg(dir.path().join("error.log"));
        command.arg("-c").arg(dir.path().join("nginx.conf"));
        let _server = lab.serve("nginx", command, Listening::Tcp(port))?;

        let mut command = lab.command(who, &wrk)?;
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
        command.arg(format!("http://127.0.0.1:{port}/file"));
        let (said, moved) = lab.client(who, "wrk", command, CLIENT_SPAN)?;
        let (per_second, requests) = parse(&said.stdout)?;
        if who == Contender::Sidestep {
            moved.at_least(requests, requests * FILE_BYTES as u64)?;
        }
        Ok(Figures::from([("per_second", per_second)]))
    }
}

/// A server of one directory: as little configuration as puts all of it under that directory.
fn config(dir: &Path, port: u16) -> String {
    let dir = dir.display();
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
            server {{ listen 127.0.0.1:{port}; root {dir}; }}
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
