//! Frames that are sound at first and then are not: no input makes a parser panic or promise what is not there.

mod walk;

use proptest::prelude::*;
use sidestep_wire::ip::Fragment;
use sidestep_wire::{Address, EtherType, Mac, Protocol, Seq, ethernet, ip, tcp, vlan};
use walk::walk;

/// A sound frame of that protocol with these bytes as its payload.
fn frame(v4: bool, tagged: bool, protocol: u8, fragment: bool, payload: &[u8]) -> Vec<u8> {
    let address = |last| {
        if v4 {
            Address::from_v4([10, 0, 0, last])
        } else {
            Address([last; 16])
        }
    };
    let ip = ip::Repr {
        src: address(1),
        dst: address(2),
        protocol: Protocol(protocol),
        hop_limit: 64,
        tos: 0,
        ident: 7,
        dont_fragment: !fragment,
        fragment: (fragment && !payload.is_empty()).then_some(Fragment {
            offset: 8,
            more: false,
        }),
        payload_len: payload.len(),
    };
    let ethertype = if v4 { EtherType::IPV4 } else { EtherType::IPV6 };
    let outer = tagged.then(vlan::Tag::default);
    let tags = vlan::Repr {
        outer,
        inner: None,
        ethertype,
    };
    let link = ethernet::Repr {
        dst: Mac::BROADCAST,
        src: Mac([2; 6]),
        ethertype: tags.outer_ethertype(),
    };
    let mut frame = vec![0; 128];
    let mut len = link.emit(&mut frame);
    len += tags.emit(&mut frame[len..]);
    len += ip.emit(&mut frame[len..]);
    frame.truncate(len);
    frame.extend(payload);
    frame
}

#[test]
fn a_sound_frame_is_walked_to_its_end() {
    let repr = tcp::Repr {
        seq: Seq(1),
        ..tcp::Repr::default()
    };
    let mut segment = [0; 20];
    repr.emit(&mut segment);
    for (v4, tagged) in [(true, false), (true, true), (false, false), (false, true)] {
        assert_eq!(walk(&frame(v4, tagged, 6, false, &segment), 128), 3);
        assert_eq!(walk(&frame(v4, tagged, 6, true, &segment), 128), 2);
        assert_eq!(
            walk(&frame(v4, tagged, 6, false, &segment), 60),
            if v4 { 3 } else { 2 }
        );
        assert_eq!(
            walk(
                &frame(v4, tagged, 17, false, &[0, 1, 0, 2, 0, 8, 0, 0]),
                128
            ),
            3
        );
    }
    assert_eq!(
        walk(
            &frame(true, false, 1, false, &[8, 0, 0, 0, 0, 0, 0, 0]),
            128
        ),
        3
    );
    assert_eq!(
        walk(
            &frame(false, false, 58, false, &[128, 0, 0, 0, 0, 0, 0, 0]),
            128
        ),
        3
    );
}

proptest! {
    #[test]
    fn arbitrary_payloads(
        (v4, tagged, fragment) in any::<(bool, bool, bool)>(),
        protocol in prop_oneof![Just(0_u8), Just(1), Just(6), Just(17), Just(43), Just(44), Just(58), Just(60)],
        kind in prop_oneof![Just(3_u8), Just(8), Just(128), Just(135), any::<u8>()],
        payload in prop::collection::vec(any::<u8>(), 0..150),
        seen in 0_usize..200,
    ) {
        let mut payload = payload;
        if let Some(first) = payload.first_mut() {
            *first = kind;
        }
        walk(&frame(v4, tagged, protocol, fragment, &payload), seen);
    }

    #[test]
    fn flipped_bytes(
        (v4, tagged, fragment) in any::<(bool, bool, bool)>(),
        protocol in prop_oneof![Just(1_u8), Just(6), Just(17), Just(44), Just(58), Just(60)],
        flips in prop::collection::vec(any::<(u8, u8)>(), 1..8),
        cut in 0_usize..140,
    ) {
        let mut frame = frame(v4, tagged, protocol, fragment, &[0; 64]);
        for (at, byte) in flips {
            let at = usize::from(at) % frame.len();
            frame[at] = byte;
        }
        frame.truncate(cut);
        walk(&frame, 128);
    }

    #[test]
    fn arbitrary_bytes(frame in prop::collection::vec(any::<u8>(), 0..200), seen in 0_usize..200) {
        walk(&frame, seen);
    }
}
