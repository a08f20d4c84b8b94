//! Checksums of IP and UDP, for frames without tags and options.

/// Adds up 16-bit words, as the internet checksum does.
fn sum(bytes: &[u8]) -> u32 {
    bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u32::from(low)))
        .sum()
}

fn fold(sum: u32) -> u32 {
    let once = (sum & 0xffff) + (sum >> 16);
    (once & 0xffff) + (once >> 16)
}

fn is_v4(frame: &[u8]) -> bool {
    frame[12..14] == [0x08, 0]
}

/// What the UDP checksum of a frame comes to: 0xffff where it is right, and so is that of an IPv4 header.
pub(crate) fn checksum(frame: &[u8]) -> u32 {
    let (addresses, datagram) = if is_v4(frame) {
        assert_eq!(fold(sum(&frame[14..34])), 0xffff, "of the IPv4 header");
        (26..34, 34)
    } else {
        (22..54, 54)
    };
    let length = u32::try_from(frame.len() - datagram).unwrap();
    fold(sum(&frame[addresses]) + 17 + length + sum(&frame[datagram..]))
}

/// Fills in both checksums, where there are zeros.
pub(crate) fn finish(frame: &mut [u8]) {
    let mut udp = 54 + 6;
    if is_v4(frame) {
        let header = fold(sum(&frame[14..34]));
        fill(frame, 24, header);
        udp = 34 + 6;
    }
    let datagram = checksum(frame);
    fill(frame, udp, datagram);
}

fn fill(frame: &mut [u8], at: usize, sum: u32) {
    let checksum = u16::try_from(!sum & 0xffff).unwrap();
    frame[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}
