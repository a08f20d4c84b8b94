//! Control messages byte by byte, and garbage in their place.

use super::*;

fn all() -> Vec<Message> {
    vec![
        Message::Ack,
        Message::Hello {
            name: field("master"),
            version_min: VERSION,
            version_max: VERSION,
            region_max: 255,
            m2s_max: 3,
            s2m_max: 4,
            log2_slots_max: 14,
        },
        Message::Init {
            version: VERSION,
            id: 7,
            mode: 0,
            secret: field("psst"),
            name: field("slave"),
        },
        Message::AddRegion {
            index: 1,
            bytes: 1 << 33,
        },
        Message::AddRing {
            s2m: true,
            index: 0,
            region: 1,
            offset: 0x1234_5678,
            log2_slots: 10,
            private_header_bytes: 16,
        },
        Message::Connect {
            name: field("net0"),
        },
        Message::Connected {
            name: field("net1"),
        },
        Message::Disconnect {
            code: 9,
            reason: field("enough"),
        },
    ]
}

#[test]
fn what_is_emitted_is_parsed_again() {
    for message in all() {
        assert_eq!(Message::parse(&message.emit()), Ok(message));
    }
}

#[test]
fn fields_lie_where_the_protocol_puts_them() {
    let ring = all()[4].emit();
    assert_eq!(
        ring[..15],
        [5, 0, 1, 0, 0, 0, 1, 0, 0x78, 0x56, 0x34, 0x12, 10, 16, 0]
    );
    let hello = all()[1].emit();
    assert_eq!(hello[..9], *b"\x02\0master\0");
    assert_eq!(hello[34..45], [0, 2, 0, 2, 255, 0, 3, 0, 4, 0, 14]);
    let init = all()[2].emit();
    assert_eq!(init[..9], [3, 0, 0, 2, 7, 0, 0, 0, 0]);
    assert_eq!((&init[9..13], &init[33..38]), (&b"psst"[..], &b"slave"[..]));
}

#[test]
fn wrong_lengths_types_and_flags_are_refused() {
    let ack = Message::Ack.emit();
    assert_eq!(Message::parse(&ack[..127]), Err(Malformed::Length(127)));
    assert_eq!(Message::parse(&[0; 129]), Err(Malformed::Length(129)));
    assert_eq!(Message::parse(&[0; 128]), Err(Malformed::Type(0)));
    let mut ring = all()[4].emit();
    ring[2] = 3;
    assert_eq!(Message::parse(&ring), Err(Malformed::RingFlags(3)));
}

#[test]
fn any_bytes_of_any_type_parse_or_fail_without_panic() {
    let mut word = 1u64;
    for kind in 0..=300u16 {
        let mut bytes = [0; MESSAGE_BYTES];
        for byte in &mut bytes {
            word = word
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            *byte = word.to_be_bytes()[0];
        }
        bytes[..2].copy_from_slice(&kind.to_le_bytes());
        let parsed = Message::parse(&bytes);
        assert!(parsed.is_err() || (1..=8).contains(&kind));
    }
}

#[test]
fn text_ends_at_a_nul_or_with_its_field() {
    assert_eq!(text(b"ab\0cd"), "ab");
    assert_eq!(text(&[b'x'; 4]), "xxxx");
    assert_eq!(field::<4>("long"), *b"lon\0");
}
