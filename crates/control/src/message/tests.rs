//! Messages survive the trip, and nothing else passes for one.

use super::*;
use proptest::prelude::*;

fn round_trip(request: &Request<'_>) {
    let mut buffer = [0; MESSAGE_BYTES_MAX];
    let bytes = encode(request, &mut buffer).unwrap();
    assert_eq!(&decode::<Request<'_>>(bytes).unwrap(), request);
}

#[test]
fn requests_survive_encoding() {
    let endpoint = Endpoint::new(Address::LOOPBACK_V4, 6379);
    let what = Publication::new(6, endpoint, false, true);
    assert_eq!(what.endpoint(), endpoint);
    round_trip(&Request::Hello {
        version: VERSION,
        layout: 7,
        name: "redis-server",
    });
    round_trip(&Request::Addresses {
        netns: 7,
        first: true,
        list: &[1; 32],
    });
    round_trip(&Request::RegisterStack {
        stack: u64::MAX,
        netns: 1 << 40,
        slot: 3,
    });
    round_trip(&Request::Publish {
        stack: 9,
        what,
        networks: true,
    });
    round_trip(&Request::OpenWire { from: 9, to: 10 });
    round_trip(&Request::RestoreWire { stack: 9, wire: 0 });
    let change = GroupChange {
        group: Address::from_v4([239, 1, 2, 3]).0,
        device: 0,
        near: Address::from_v4([10, 0, 0, 1]).0,
        joins: true,
    };
    assert_eq!(change.group().to_string(), "239.1.2.3");
    assert_eq!(change.near().to_string(), "10.0.0.1");
    round_trip(&Request::Group { stack: 9, change });
    round_trip(&Request::Stop);
}

#[test]
fn the_longest_messages_fit() {
    let list = [0xff; ADDRESSES_MAX * 16];
    round_trip(&Request::Addresses {
        netns: u64::MAX,
        first: true,
        list: &list,
    });
    let mut buffer = [0; MESSAGE_BYTES_MAX];
    let geometry = &[0xff; GEOMETRY_BYTES_MAX];
    assert!(
        encode(
            &Reply::Mapped {
                peer: u64::MAX,
                role: 255,
                stranger: true,
                geometry
            },
            &mut buffer
        )
        .is_ok()
    );
}

#[test]
fn trailing_bytes_are_garbage() {
    let mut buffer = [0; MESSAGE_BYTES_MAX];
    let used = encode(&Request::Ps, &mut buffer).unwrap().len();
    assert_eq!(decode::<Request<'_>>(&buffer[..used]), Ok(Request::Ps));
    assert_eq!(decode::<Request<'_>>(&buffer[..=used]), Err(Garbage));
}

proptest! {
    #[test]
    fn any_bytes_decode_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut buffer = [0; MESSAGE_BYTES_MAX];
        if let Ok(request) = decode::<Request<'_>>(&bytes) {
            // What decodes means something: it can be said again.
            let again = encode(&request, &mut buffer).unwrap();
            prop_assert_eq!(decode::<Request<'_>>(again), Ok(request));
        }
        if let Ok(reply) = decode::<Reply<'_>>(&bytes) {
            prop_assert!(encode(&reply, &mut buffer).is_ok());
        }
    }
}
