use super::*;

const SAID: &str = "Running 1s test @ http://127.0.0.1/file\n  1 threads and 50 connections\n\
    \x20 67890 requests in 1.00s, 80.1MB read\nRequests/sec:  67500.50\nTransfer/sec:     80.10MB\n";

#[test]
fn rate_and_count_are_read() {
    assert_eq!(parse(SAID).unwrap(), (67500.5, 67890));
}

#[test]
fn errors_make_it_invalid() {
    for error in [
        "  Socket errors: connect 0, read 3, write 0, timeout 0\n",
        "  Non-2xx or 3xx responses: 12\n",
    ] {
        assert!(matches!(
            parse(&format!("{SAID}{error}")),
            Err(Problem::Invalid(_))
        ));
    }
    assert!(matches!(parse(""), Err(Problem::Failed(_))));
}
