//! What the driver of an interface does with frames, by the families `netdev` and `ethtool` of generic netlink.

use netlink_packet_core::{NLM_F_REQUEST, NetlinkBuffer, NlasIterator};
use netlink_sys::protocols::NETLINK_GENERIC;
use netlink_sys::{Socket, SocketAddr};
use std::io;

/// The family that tells the numbers of families: `GENL_ID_CTRL`, `CTRL_CMD_GETFAMILY` and its attributes.
const CONTROL: u16 = 0x10;
const FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

/// `NETDEV_CMD_DEV_GET` and its attributes.
const DEVICE: u8 = 1;
const DEVICE_IFINDEX: u16 = 1;
const DEVICE_FEATURES: u16 = 3;
const DEVICE_SOCKETS: u16 = 6;
/// `NETDEV_XDP_ACT_BASIC`, `NETDEV_XDP_ACT_NDO_XMIT`, `NETDEV_XDP_ACT_XSK_ZEROCOPY`.
const NATIVE: u64 = 1;
const SENDS: u64 = 4;
const ZERO_COPY: u64 = 8;
/// `NETDEV_XSK_FLAGS_TX_CHECKSUM`.
const FINISHES_CHECKSUMS: u64 = 2;

/// `ETHTOOL_MSG_FEATURES_GET`, its attributes, and what they nest: a bit of a set has a name.
const FEATURES: u8 = 11;
const FEATURES_HEADER: u16 = 1 | NESTED;
const FEATURES_ACTIVE: u16 = 4;
const HEADER_DEVICE: u16 = 1;
const SET_BITS: u16 = 3;
const BIT: u16 = 1;
const BIT_NAME: u16 = 2;
/// `ETHTOOL_MSG_RSS_GET`, its attributes, and the bit of Toeplitz's hash (`ETH_RSS_HASH_TOP`).
const RSS: u8 = 38;
const RSS_HEADER: u16 = 1 | NESTED;
const RSS_HASHES: u16 = 3;
const RSS_TABLE: u16 = 4;
const RSS_KEY: u16 = 5;
const RSS_TRANSFORM: u16 = 6;
const TOEPLITZ: u32 = 1;
/// The key that drivers use which have none of their own, and do not tell: in the first network namespace only.
const HOSTS_KEY: &str = "/proc/sys/net/core/netdev_rss_key";
/// Taking VLAN tags out of frames that arrive: `rxvlan` of ethtool.
const TAKES_TAGS_OUT: &[u8] = b"rx-vlan-hw-parse\0";
/// Finishing checksums of what is sent: `tx` of ethtool. What has no wire leaves them unfinished then.
const FINISHES_FOR_KERNEL: &[u8] = b"tx-checksum-ip-generic\0";

/// `NLA_F_NESTED`.
const NESTED: u16 = 1 << 15;

/// Header of a netlink message; of a generic one, behind it; and of an attribute.
const MESSAGE_BYTES: usize = 16;
const GENERIC_BYTES: usize = 4;
const ATTRIBUTE_BYTES: usize = 4;

/// Whether an interface sends frames that native XDP programs redirect to it; none where the kernel, older than 6.3,
/// does not say.
pub(crate) fn sends(ifindex: u32) -> Option<bool> {
    driver(ifindex).map(|driver| driver.sends)
}

/// What the driver of an interface has for XDP and AF_XDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Driver {
    /// Programs run in it.
    pub native: bool,
    /// AF_XDP without copying.
    pub zero_copy: bool,
    /// It finishes checksums of what AF_XDP sockets send.
    pub finishes_checksums: bool,
    /// It sends what programs redirect to it.
    pub(crate) sends: bool,
}

/// What the driver of an interface has; none where the kernel, older than 6.3, does not say.
pub fn driver(ifindex: u32) -> Option<Driver> {
    ask(ifindex).ok()
}

/// Whether the driver of an interface takes VLAN tags out of the frames that arrive (`rxvlan` of ethtool), so that XDP
/// programs do not see them. None where the kernel, older than 5.7, does not say.
pub fn hides_tags(ifindex: u32) -> Option<bool> {
    is_active(ifindex, TAKES_TAGS_OUT).ok()
}

/// Whether the kernel leaves checksums of what it sends by an interface for that to finish (`tx` of ethtool), as by a
/// virtual cable, where nobody does. None where the kernel, older than 5.7, does not say.
pub fn leaves_checksums(ifindex: u32) -> Option<bool> {
    is_active(ifindex, FINISHES_FOR_KERNEL).ok()
}

/// How a card spreads what arrives over its queues (RSS): by Toeplitz's hash over addresses and ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spreading {
    /// The hash's key.
    pub key: Vec<u8>,
    /// The queue of each value that the hash's last bits can have.
    pub queues: Vec<u32>,
}

/// How the card of an interface spreads what arrives. None where it does not, or otherwise, and where the kernel, older than
/// 6.3, does not say.
pub fn spreading(ifindex: u32) -> Option<Spreading> {
    ask_spreading(ifindex).ok()
}

fn ask_spreading(ifindex: u32) -> io::Result<Spreading> {
    let (socket, family) = open(b"ethtool\0")?;
    let said = request(&socket, family, RSS, RSS_HEADER, &device(ifindex))?;
    let hashes = attribute(&said, RSS_HASHES).map_or(TOEPLITZ, u32::from_ne_bytes);
    let transform = attribute(&said, RSS_TRANSFORM).map_or(0, u32::from_ne_bytes);
    if hashes != TOEPLITZ || transform != 0 {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let table = nested(&said, RSS_TABLE).next().unwrap_or_default();
    let (queues, _) = table.as_chunks::<4>();
    let queues: Vec<u32> = queues.iter().map(|q| u32::from_ne_bytes(*q)).collect();
    let key = nested(&said, RSS_KEY).next().map(<[u8]>::to_vec);
    let key = key.or_else(hosts_key).ok_or(io::ErrorKind::NotFound)?;
    if queues.is_empty() {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(Spreading { key, queues })
}

/// The key of drivers that do not tell theirs; none where no driver has asked for it.
fn hosts_key() -> Option<Vec<u8>> {
    let text = std::fs::read_to_string(HOSTS_KEY).ok()?;
    let bytes = text.trim().split(':');
    let key: Option<Vec<u8>> = bytes
        .map(|byte| u8::from_str_radix(byte, 16).ok())
        .collect();
    key.filter(|key| key.iter().any(|byte| *byte != 0))
}

/// The attribute that names an interface to ethtool.
fn device(ifindex: u32) -> Vec<u8> {
    let mut device = 8u16.to_ne_bytes().to_vec();
    device.extend(HEADER_DEVICE.to_ne_bytes());
    device.extend(ifindex.to_ne_bytes());
    device
}

fn ask(ifindex: u32) -> io::Result<Driver> {
    let (socket, family) = open(b"netdev\0")?;
    let device = ifindex.to_ne_bytes();
    let said = request(&socket, family, DEVICE, DEVICE_IFINDEX, &device)?;
    let features = u64::from_ne_bytes(attribute(&said, DEVICE_FEATURES)?);
    // Kernels before 6.8 have nothing of the kind.
    let sockets = attribute(&said, DEVICE_SOCKETS).map_or(0, u64::from_ne_bytes);
    Ok(Driver {
        native: features & NATIVE != 0,
        zero_copy: features & ZERO_COPY != 0,
        finishes_checksums: sockets & FINISHES_CHECKSUMS != 0,
        sends: features & SENDS != 0,
    })
}

fn is_active(ifindex: u32, feature: &[u8]) -> io::Result<bool> {
    let (socket, family) = open(b"ethtool\0")?;
    let said = request(&socket, family, FEATURES, FEATURES_HEADER, &device(ifindex))?;
    let active = nested(&said, FEATURES_ACTIVE).next();
    let active = active.ok_or(io::ErrorKind::NotFound)?;
    let bits = nested(active, SET_BITS).next().unwrap_or_default();
    // Each bit of the list is of the same kind.
    let is_named = |bit: &[u8]| nested(bit, BIT_NAME).any(|name| name == feature);
    Ok(nested(bits, BIT).any(is_named))
}

/// A socket, and the number of a family.
fn open(family: &[u8]) -> io::Result<(Socket, u16)> {
    let mut socket = Socket::new(NETLINK_GENERIC)?;
    socket.bind_auto()?;
    let said = request(&socket, CONTROL, FAMILY, FAMILY_NAME, family)?;
    Ok((socket, u16::from_ne_bytes(attribute(&said, FAMILY_ID)?)))
}

/// The values of the attributes of that kind.
fn nested(attributes: &[u8], kind: u16) -> impl Iterator<Item = &[u8]> {
    let all = NlasIterator::new(attributes).map_while(Result::ok);
    let of_kind = all.filter(move |attribute| attribute.kind() == kind);
    of_kind.filter_map(|attribute| {
        let length = usize::from(attribute.length());
        attribute.into_inner().get(ATTRIBUTE_BYTES..length)
    })
}

/// Sends a command with one attribute; the attributes of the answer. The kernel answers within the call that asks.
fn request(
    socket: &Socket,
    family: u16,
    command: u8,
    kind: u16,
    value: &[u8],
) -> io::Result<Vec<u8>> {
    let attribute = u16::try_from(ATTRIBUTE_BYTES + value.len()).map_err(io::Error::other)?;
    let mut message = vec![0; MESSAGE_BYTES];
    message.extend([command, 1, 0, 0]);
    message.extend(attribute.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
    let length = u32::try_from(message.len()).map_err(io::Error::other)?;
    let mut header = NetlinkBuffer::new(&mut message);
    header.set_length(length);
    header.set_message_type(family);
    header.set_flags(NLM_F_REQUEST);
    socket.send_to(&message, &SocketAddr::new(0, 0), 0)?;
    let (answer, _) = socket.recv_from_full()?;
    let answer = NetlinkBuffer::new_checked(&answer).map_err(io::Error::other)?;
    // What is of another type is an error.
    if answer.message_type() != family {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let attributes = answer.payload().get(GENERIC_BYTES..);
    Ok(attributes.unwrap_or_default().to_vec())
}

/// The attribute of that kind and length.
fn attribute<const BYTES: usize>(attributes: &[u8], kind: u16) -> io::Result<[u8; BYTES]> {
    NlasIterator::new(attributes)
        .map_while(Result::ok)
        .find(|attribute| attribute.kind() == kind)
        .and_then(|attribute| attribute.value().try_into().ok())
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}
