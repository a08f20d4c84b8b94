//! One measurement: who speaks to whom, over which link.

use crate::calls::{Calls, Service};
use crate::host::Host;
use crate::kernel::Kernel;
use crate::lab::{Lab, Program};
use crate::ours::Ours;
use crate::stream::Stream;
use sidestep_nic::fault::LinkConfig;
use sidestep_shm::{Clock, Nanos};

/// Longest that a trial may take beyond its span.
const PATIENCE: Nanos = Nanos::from_secs(5);

/// Whose TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tcp {
    /// The kernel's, with CUBIC where namespaces may use it.
    Linux,
    /// That of this stack, as it is by default.
    Ours,
}

impl Tcp {
    fn host(self, number: u8) -> anyhow::Result<Box<dyn Host>> {
        Ok(match self {
            Self::Linux => Box::new(Kernel::new(number)?),
            Self::Ours => Box::new(Ours::new(number, Clock::new().now())?),
        })
    }

    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Linux => "Linux",
            Self::Ours => "ours",
        }
    }
}

/// Two hosts and the link between them.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// Who opens connections.
    pub client: Tcp,
    /// Who accepts them.
    pub server: Tcp,
    /// The way from the client, and back.
    pub links: [LinkConfig; 2],
    /// What chance depends on.
    pub seed: u64,
}

/// What came of a stream, or of several.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flow {
    /// Bits in a second that reached the reader.
    pub bps: f64,
    /// Segments sent again.
    pub retransmits: u64,
    /// Retransmission timeouts.
    pub timeouts: u64,
    /// Packets lost on the way there.
    pub lost: u64,
    /// Longest that a packet was late by this machine's fault.
    pub late: Nanos,
}

impl Flow {
    /// Both together.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        Self {
            bps: self.bps + other.bps,
            retransmits: self.retransmits + other.retransmits,
            timeouts: self.timeouts + other.timeouts,
            lost: self.lost + other.lost,
            late: self.late.max(other.late),
        }
    }
}

impl Trial {
    fn lab(&self) -> anyhow::Result<Lab> {
        let mut hosts = vec![self.client.host(1)?, self.server.host(2)?];
        hosts[1].listen()?;
        Ok(Lab::new(hosts, 1, self.links, self.seed))
    }

    /// The client sends for that long.
    ///
    /// # Errors
    /// Without root, where bytes change on the way, and where a connection ends.
    pub fn stream(&self, span: Nanos) -> anyhow::Result<Flow> {
        let mut lab = self.lab()?;
        let mut stream = Stream::new(0, 1, lab.now() + span);
        lab.run(&mut [&mut stream], span + PATIENCE)?;
        let (retransmits, timeouts) = lab.hosts[0].counters();
        Ok(Flow {
            bps: rate(stream.got, span),
            retransmits,
            timeouts,
            lost: lab.lost()[0],
            late: lab.late,
        })
    }

    /// The client makes those calls; how long each connection took, in the order in which they were opened.
    ///
    /// # Errors
    /// Without root, where bytes change on the way, where a connection fails, and where it takes longer than `patience`.
    pub fn calls(&self, calls: Calls, patience: Nanos) -> anyhow::Result<Vec<Nanos>> {
        let mut lab = self.lab()?;
        let mut service = Service::new(calls, 0, 1);
        lab.run(&mut [&mut service], patience)?;
        Ok(service.took)
    }
}

/// Two streams, of which each has a reader of Linux, share a link for that long; the bits in a second that each got.
///
/// # Errors
/// As [`Trial::stream`].
pub fn fairness(
    senders: [Tcp; 2],
    links: [LinkConfig; 2],
    seed: u64,
    span: Nanos,
) -> anyhow::Result<[f64; 2]> {
    let mut hosts = vec![
        senders[0].host(1)?,
        senders[1].host(2)?,
        Tcp::Linux.host(3)?,
        Tcp::Linux.host(4)?,
    ];
    hosts[2].listen()?;
    hosts[3].listen()?;
    let mut lab = Lab::new(hosts, 2, links, seed);
    let until = lab.now() + span;
    let (mut one, mut other) = (Stream::new(0, 2, until), Stream::new(1, 3, until));
    let programs: &mut [&mut dyn Program] = &mut [&mut one, &mut other];
    lab.run(programs, span + PATIENCE)?;
    Ok([rate(one.got, span), rate(other.got, span)])
}

#[expect(clippy::cast_precision_loss, reason = "fifteen digits are enough")]
fn rate(bytes: usize, span: Nanos) -> f64 {
    bytes as f64 * 8e9 / span.0 as f64
}
