//! What the administrator has set for the kernel's own network stack, and holds for ours too.

use rustix::fs::{Mode, OFlags};

/// The text of a file below /proc/sys, as far as it has room.
pub(crate) fn text<'t>(name: &str, room: &'t mut [u8]) -> Option<&'t str> {
    let path = ["/proc/sys/", name].concat();
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let n = rustix::io::read(&file, &mut room[..]).ok()?;
    core::str::from_utf8(&room[..n]).ok()
}

/// The number in a file below /proc/sys.
pub(crate) fn number(name: &str) -> Option<u32> {
    text(name, &mut [0; 64])?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_read() {
        let kind = text("kernel/ostype", &mut [0; 64]).map(|text| text.trim().to_owned());
        assert_eq!(kind.as_deref(), Some("Linux"));
        assert_eq!(number("kernel/ostype"), None);
        assert_eq!(number("no/such/file"), None);
        assert!(number("kernel/pid_max").is_some_and(|n| n > 100));
    }
}
