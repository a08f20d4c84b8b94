use super::{Repr, Tag};
use crate::{EtherType, Malformed};
use proptest::prelude::*;

const ONE: Tag = Tag {
    id: 100,
    priority: 5,
    drop_eligible: false,
};
const TWO: Tag = Tag {
    id: 0xfff,
    priority: 0,
    drop_eligible: true,
};

#[test]
fn no_tag() {
    let repr = Repr {
        outer: None,
        inner: None,
        ethertype: EtherType::IPV4,
    };
    assert_eq!(Repr::parse(EtherType::IPV4, &[]), Ok((repr, 0)));
    assert_eq!(repr.emit(&mut []), 0);
    assert_eq!(repr.outer_ethertype(), EtherType::IPV4);
}

#[test]
fn one_tag() {
    let bytes = [0xa0, 100, 0x86, 0xdd];
    let repr = Repr {
        outer: Some(ONE),
        inner: None,
        ethertype: EtherType::IPV6,
    };
    assert_eq!(Repr::parse(EtherType::VLAN, &bytes), Ok((repr, 4)));
    let mut out = [0; 4];
    assert_eq!(repr.emit(&mut out), 4);
    assert_eq!(out, bytes);
    assert_eq!(repr.outer_ethertype(), EtherType::VLAN);
}

#[test]
fn two_tags() {
    let bytes = [0xa0, 100, 0x81, 0x00, 0x1f, 0xff, 0x08, 0x06];
    let repr = Repr {
        outer: Some(ONE),
        inner: Some(TWO),
        ethertype: EtherType::ARP,
    };
    assert_eq!(Repr::parse(EtherType::SERVICE_VLAN, &bytes), Ok((repr, 8)));
    let mut out = [0; 8];
    assert_eq!(repr.emit(&mut out), 8);
    assert_eq!(out, bytes);
    assert_eq!(repr.outer_ethertype(), EtherType::SERVICE_VLAN);
}

#[test]
fn three_tags_are_left_to_the_caller() {
    let bytes = [0, 1, 0x81, 0, 0, 2, 0x81, 0, 0, 3, 0x08, 0];
    let (repr, len) = Repr::parse(EtherType::VLAN, &bytes).unwrap();
    assert_eq!((repr.ethertype, len), (EtherType::VLAN, 8));
}

#[test]
fn truncated() {
    assert_eq!(
        Repr::parse(EtherType::VLAN, &[0, 1, 8]),
        Err(Malformed::Truncated)
    );
    assert_eq!(
        Repr::parse(EtherType::VLAN, &[0, 1, 0x81, 0, 0]),
        Err(Malformed::Truncated)
    );
}

proptest! {
    #[test]
    fn any_bytes(bytes in prop::collection::vec(prop_oneof![Just(0x81), Just(0), any::<u8>()], 0..16)) {
        if let Ok((repr, len)) = Repr::parse(EtherType::SERVICE_VLAN, &bytes) {
            prop_assert!(len == 4 || len == 8);
            let mut out = [0; 8];
            prop_assert_eq!(repr.emit(&mut out), len);
            // The type between two tags is normalised; all else comes out as it went in.
            prop_assert_eq!(Repr::parse(EtherType::SERVICE_VLAN, &out), Ok((repr, len)));
        }
    }
}
