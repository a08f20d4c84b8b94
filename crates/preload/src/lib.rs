//! `libsidestep.so`, the library that programs are started with: what `sidestep-exports` exports, and nothing else.

extern crate sidestep_exports as _;
