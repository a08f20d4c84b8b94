//! A message from the agent's socket, read as a request and as a reply.
//!
//! What decodes has a meaning, so it can be said again and means the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sidestep_control::message::{MESSAGE_BYTES_MAX, decode, encode};
use sidestep_control::{Reply, Request};

fuzz_target!(|data: &[u8]| {
    let mut buffer = [0; MESSAGE_BYTES_MAX];
    if let Ok(request) = decode::<Request<'_>>(data) {
        if let Ok(again) = encode(&request, &mut buffer) {
            assert_eq!(decode::<Request<'_>>(again), Ok(request));
        } else {
            // Encoding is the shortest form, so only what is too long for a message cannot be said.
            assert!(data.len() > MESSAGE_BYTES_MAX);
        }
        if let Request::Publish { what, .. } = request {
            std::hint::black_box(what.endpoint().to_string());
        }
    }
    if let Ok(reply) = decode::<Reply<'_>>(data) {
        match encode(&reply, &mut buffer) {
            Ok(again) => assert_eq!(decode::<Reply<'_>>(again), Ok(reply)),
            Err(_) => assert!(data.len() > MESSAGE_BYTES_MAX),
        }
    }
});
