//! The keys that a server's cookies of TCP Fast Open are made with (RFC 7413 section 4.1.2): those of the kernel, so that
//! a cookie of either stack of a host is good for both, as far as we may know them.

use crate::memory::{Core, Stack};
use crate::{Address, SocketRef};
use sidestep_shm::Nanos;
use sidestep_wire::tcp::FastOpen;
use siphasher::sip::SipHasher24;
use siphasher::sip128;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of a key.
const KEY_BYTES: usize = 16;
/// Keys in use at a time: one that makes cookies, and one whose cookies are still good.
const KEYS_MAX: usize = 2;
/// How long keys are believed to be those of the kernel still.
const KEYS_LAST: Nanos = Nanos::from_secs(1);
/// Listening sockets with keys of their own that are remembered; one more takes the place of another.
pub(crate) const OWNERS: usize = 64;

/// Keys of a network namespace or of a socket; zeroed memory is none.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct FastKeys {
    keys: [[u8; KEY_BYTES]; KEYS_MAX],
    count: u32,
}

impl FastKeys {
    /// Bytes of all of them.
    pub const BYTES_MAX: usize = KEY_BYTES * KEYS_MAX;

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The keys in what TCP_FASTOPEN_KEY tells: 16 bytes each, the one that makes cookies first.
    pub fn new(bytes: &[u8]) -> Self {
        let mut keys = Self::default();
        for (key, bytes) in keys.keys.iter_mut().zip(bytes.chunks_exact(KEY_BYTES)) {
            key.copy_from_slice(bytes);
            keys.count += 1;
        }
        keys
    }

    /// The cookie of a client, by one of the keys.
    fn cookie(&self, nth: usize, client: &Address, server: &Address) -> Option<FastOpen> {
        let key = self.keys.get(nth).filter(|_| nth < self.count as usize)?;
        let hasher = SipHasher24::new_with_key(key);
        let hash = match (client.v4(), server.v4()) {
            (Some(client), Some(server)) => {
                hasher.hash([client.octets(), server.octets()].as_flattened())
            }
            _ => hasher.hash([client.0, server.0].as_flattened()),
        };
        FastOpen::new(&hash.to_le_bytes())
    }

    /// Which of the keys has made a cookie, and the cookie that a client is to have.
    pub(crate) fn judge(
        &self,
        shown: &FastOpen,
        client: &Address,
        server: &Address,
    ) -> (Option<usize>, Option<FastOpen>) {
        let made = |nth| self.cookie(nth, client, server);
        let is_shown = |nth: &usize| made(*nth).is_some_and(|c| c.bytes() == shown.bytes());
        let own = made(0).map(|cookie| cookie.in_experiment(shown.experimental));
        ((0..KEYS_MAX).find(is_shown), own)
    }
}

/// The keys of one listening socket.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct OwnKeys {
    index: u32,
    generation: u32,
    keys: FastKeys,
}

impl Stack<'_> {
    /// The keys of this network namespace. Without any, keys that only this stack knows.
    pub fn set_fast_keys(&mut self, keys: FastKeys) {
        let h = &mut self.core.header;
        h.fast_keys_at = h.now;
        h.fast_keys = if keys.count > 0 {
            keys
        } else {
            let mut own = [0; KEY_BYTES];
            let (half, other) = own.split_at_mut(KEY_BYTES / 2);
            half.copy_from_slice(&h.secret.to_ne_bytes());
            other.copy_from_slice(b"fastopen");
            // Of a secret that more than cookies are made from, only a hash.
            let hash = sip128::SipHasher24::new_with_key(&own).hash(b"");
            FastKeys::new(&hash.as_bytes())
        };
    }

    /// The keys of a listening socket that was given its own.
    pub fn set_own_fast_keys(&mut self, owner: SocketRef, keys: FastKeys) {
        let table = &mut self.core.own_keys;
        let known = table.iter().position(|own| own.is_of(owner));
        let place = known.or_else(|| table.iter().position(|own| own.keys.count == 0));
        table[place.unwrap_or(owner.index as usize % OWNERS)] = OwnKeys {
            index: owner.index,
            generation: owner.generation,
            keys,
        };
    }
}

impl Core<'_> {
    /// Whether the keys were looked at long ago.
    pub(crate) fn are_keys_old(&self) -> bool {
        self.now() >= self.header.fast_keys_at + KEYS_LAST
    }

    /// The keys of a listening socket.
    pub(crate) fn fast_keys(&self, listener: u32) -> &FastKeys {
        let owner = self.reference(listener);
        let own = self.own_keys.iter().find(|own| own.is_of(owner));
        own.map_or(&self.header.fast_keys, |own| &own.keys)
    }
}

impl OwnKeys {
    fn is_of(&self, owner: SocketRef) -> bool {
        self.keys.count > 0 && (self.index, self.generation) == (owner.index, owner.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 16] = [
        0xf7, 0x63, 0xbf, 0xa0, 0x81, 0x3d, 0x80, 0xed, 0x30, 0x1d, 0x64, 0xcd, 0x90, 0x4a, 0xbc,
        0xce,
    ];

    fn v4(bytes: [u8; 4]) -> Address {
        Address::from_v4(bytes)
    }

    /// What Linux makes of these, by the scripts of packetdrill.
    #[test]
    fn cookies_are_those_of_linux() {
        let keys = FastKeys::new(&KEY);
        for (client, server, cookie) in [
            ([10, 248, 0, 2], [192, 168, 0, 2], 0x00ab_aaab_e8e9_54c2_u64),
            ([10, 248, 0, 3], [192, 168, 0, 2], 0x1313_a2da_994a_0951),
            ([10, 248, 0, 3], [192, 168, 0, 3], 0x76d2_c1c5_30f5_1f79),
        ] {
            let made = keys.cookie(0, &v4(client), &v4(server)).unwrap();
            assert_eq!(made.bytes(), cookie.to_be_bytes());
        }
        let of_v6 = [0xa1, 0xb2, 0xc3, 0xd4].map(|byte| [byte; 4]);
        let keys = FastKeys::new(of_v6.as_flattened());
        let address = |text: &str| Address::from(text.parse::<std::net::IpAddr>().unwrap());
        let (client, server) = (address("fd3d:fa7b:d17d::1"), address("fd3d:0a0b:17d6::1"));
        let made = keys.cookie(0, &client, &server).unwrap();
        assert_eq!(made.bytes(), 0xc1d1_e974_2a47_a9bc_u64.to_be_bytes());
    }

    #[test]
    fn a_cookie_of_the_key_before_is_good_and_replaced() {
        let (client, server) = (v4([10, 0, 0, 1]), v4([10, 0, 0, 2]));
        let old = FastKeys::new(&KEY);
        let now = FastKeys::new([[7; 16], KEY].as_flattened());
        let mine = now.cookie(0, &client, &server);
        let shown = old.cookie(0, &client, &server).unwrap();
        assert_eq!(now.judge(&shown, &client, &server), (Some(1), mine));
        let shown = mine.unwrap().in_experiment(true);
        assert_eq!(now.judge(&shown, &client, &server), (Some(0), Some(shown)));
        assert_eq!(old.judge(&shown, &client, &server).0, None);
        assert_eq!(
            now.judge(&FastOpen::REQUEST, &client, &server),
            (None, mine)
        );
        assert_eq!(
            FastKeys::default().judge(&shown, &client, &server),
            (None, None)
        );
        assert_eq!(FastKeys::new(&KEY[..8]), FastKeys::default());
    }
}
