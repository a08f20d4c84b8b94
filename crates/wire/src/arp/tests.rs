use super::{Operation, PACKET_BYTES, Repr};
use crate::{Address, Mac, Malformed};
use proptest::prelude::*;

const REQUEST: [u8; 28] = [
    0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2,
];

fn request() -> Repr {
    Repr {
        operation: Operation::Request,
        sender_mac: Mac([2, 0, 0, 0, 0, 1]),
        sender: Address::from_v4([10, 0, 0, 1]),
        target_mac: Mac::default(),
        target: Address::from_v4([10, 0, 0, 2]),
    }
}

#[test]
fn request_and_reply() {
    assert_eq!(Repr::parse(&REQUEST), Ok(request()));
    let mut out = [0xaa; 30];
    assert_eq!(request().emit(&mut out), PACKET_BYTES);
    assert_eq!(out[..28], REQUEST);
    let reply = Repr {
        operation: Operation::Reply,
        ..request()
    };
    reply.emit(&mut out);
    assert_eq!(out[7], 2);
    assert_eq!(Repr::parse(&out), Ok(reply));
}

#[test]
fn malformed() {
    assert_eq!(Repr::parse(&REQUEST[..27]), Err(Malformed::Truncated));
    let with = |at: usize, byte| {
        let mut packet = REQUEST;
        packet[at] = byte;
        Repr::parse(&packet)
    };
    for at in 0..6 {
        assert_eq!(with(at, 0x77), Err(Malformed::Unsupported), "byte {at}");
    }
    assert_eq!(with(7, 3), Err(Malformed::Unsupported));
    assert_eq!(with(8, 0xff), Err(Malformed::Value), "a group as sender");
    assert_eq!(
        with(14, 224),
        Err(Malformed::Value),
        "a group's address as sender"
    );
}

proptest! {
    #[test]
    fn round_trip(mut packet: [u8; 28]) {
        let operation = 1 + packet[7] % 2;
        packet[..8].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, operation]);
        if let Ok(repr) = Repr::parse(&packet) {
            let mut out = [0; PACKET_BYTES];
            repr.emit(&mut out);
            prop_assert_eq!(out, packet);
        }
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = Repr::parse(&bytes);
    }
}
