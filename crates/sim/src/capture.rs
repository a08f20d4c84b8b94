//! What the links carried, as a capture file: IPv4 packets with the addresses 10.0.0.1 and 10.0.0.2.

use anyhow::Context as _;
use pcap_file::DataLink;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use sidestep_shm::Nanos;
use sidestep_wire::tcp::{self, Repr};
use sidestep_wire::{Address, Protocol, checksum, ip};
use std::fs::File;
use std::path::Path;
use std::time::Duration;

/// Longest headers of a packet.
const HEADERS_MAX: usize = 80;

/// A capture file that is being written.
pub struct Capture {
    writer: PcapWriter<File>,
}

impl Capture {
    /// Begins a file.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| path.display().to_string())?;
        let header = PcapHeader {
            datalink: DataLink::RAW,
            ..PcapHeader::default()
        };
        let writer = PcapWriter::with_header(file, header)?;
        Ok(Self { writer })
    }

    /// Adds a packet that end `from` sends; `tos` is the field of its IP header.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn add(
        &mut self,
        now: Nanos,
        from: usize,
        tos: u8,
        repr: &Repr,
        payload: &[u8],
    ) -> anyhow::Result<()> {
        let addresses = [[10, 0, 0, 1], [10, 0, 0, 2]].map(Address::from_v4);
        let (src, dst) = (addresses[from], addresses[1 - from]);
        let header_len = repr.header_len();
        let mut packet = vec![0; HEADERS_MAX];
        let ip_len = ip::Repr {
            src,
            dst,
            protocol: Protocol::TCP,
            hop_limit: 64,
            tos,
            ident: 0,
            dont_fragment: true,
            fragment: None,
            payload_len: header_len + payload.len(),
        }
        .emit(&mut packet);
        repr.emit(&mut packet[ip_len..]);
        packet.truncate(ip_len + header_len);
        packet.extend_from_slice(payload);
        let len = u32::try_from(packet.len() - ip_len)?;
        let pseudo = checksum::pseudo_header(src, dst, Protocol::TCP.0, len);
        let sum = checksum::finish(checksum::sum(pseudo, &packet[ip_len..]));
        packet[ip_len + tcp::CHECKSUM_OFFSET..][..2].copy_from_slice(&sum.to_be_bytes());
        let wire_len = u32::try_from(packet.len())?;
        let time = Duration::from_nanos(now.0);
        self.writer
            .write_packet(&PcapPacket::new(time, wire_len, &packet))?;
        Ok(())
    }
}
