use super::*;
use proptest::prelude::*;

/// A message with this length in its header, and that many bytes behind the header.
fn message(says: u32, behind: usize) -> Vec<u8> {
    let mut bytes = says.to_ne_bytes().to_vec();
    bytes.resize(16 + behind, 7);
    bytes
}

#[test]
fn messages_begin_at_multiples_of_four() {
    let mut datagram = message(17, 4);
    datagram.extend(message(16, 0));
    let lengths: Vec<_> = Messages::of(&datagram)
        .map(|message| message.length())
        .collect();
    assert_eq!(lengths, [17, 16]);
}

#[test]
fn a_broken_message_ends_it() {
    for broken in [0, 15, 21, u32::MAX] {
        let mut datagram = message(16, 0);
        datagram.extend(message(broken, 4));
        assert_eq!(Messages::of(&datagram).count(), 1, "{broken}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_messages_within_them_or_none(bytes: Vec<u8>) {
        let all: usize = Messages::of(&bytes).map(|message| message.buffer.len()).sum();
        prop_assert!(all <= bytes.len());
    }
}
