//! The kernel's files, as they look, and as they are here.

use super::*;

const FIB_TRIE: &str = "\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 192.0.2.0/24 2 0 2
        |-- 192.0.2.0
           /24 link UNICAST
        |-- 192.0.2.17
           /32 host LOCAL
        |-- 192.0.2.255
           /32 link BROADCAST
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.0
           /8 host LOCAL
        |-- 127.0.0.1
           /32 host LOCAL
";

#[test]
fn only_local_routes_to_one_address_count() {
    let mut list = [Address::default(); 8];
    let mut found = Found {
        list: &mut list,
        count: 0,
    };
    // The kernel tells everything twice, for the tables main and local.
    FIB_TRIE
        .lines()
        .chain(FIB_TRIE.lines())
        .fold(None, |leaf, line| fib_trie_line(line, leaf, &mut found));
    assert_eq!(found.count, 1);
    assert_eq!(list[0], Address::from_v4([192, 0, 2, 17]));
}

#[test]
fn addresses_of_ipv6_come_without_link_local_ones() {
    let global = if_inet6_line("20010db8000000000000000000000001 02 40 00 80     eth0");
    assert_eq!(global.unwrap().to_string(), "2001:db8::1");
    assert_eq!(
        if_inet6_line("fe80000000000000020000fffe000001 02 40 20 80     eth0"),
        None
    );
    assert_eq!(if_inet6_line("nonsense"), None);
}

#[test]
fn a_full_list_is_not_overrun() {
    let mut list = [Address::default(); 1];
    let mut found = Found {
        list: &mut list,
        count: 0,
    };
    found.push(Address::from_v4([192, 0, 2, 1]));
    found.push(Address::from_v4([192, 0, 2, 2]));
    assert_eq!(found.count, 1);
}

#[test]
fn the_files_of_this_machine_are_understood() {
    let by_stat = std::fs::read_link("/proc/self/ns/net").unwrap();
    assert_eq!(
        by_stat.to_str().unwrap(),
        format!("net:[{}]", network().unwrap())
    );
    let mut list = [Address::default(); ADDRESSES_MAX];
    let count = addresses(&mut list).unwrap();
    for address in &list[..count] {
        // An address of this host can be bound to.
        std::net::UdpSocket::bind((address.ip(), 0)).unwrap();
    }
}
