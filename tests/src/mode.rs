//! Which ends of a test run accelerated.

/// Which ends of a test run under `sidestep run`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Both: what passes between them must go by a wire.
    Both,
    /// The server, against a client over the kernel.
    ServerOnly,
    /// The client, against a server over the kernel.
    ClientOnly,
    /// Neither: a control of the test itself.
    Kernel,
}

impl Mode {
    /// [`Mode::Both`], unless the environment asks for the kernel.
    pub fn both() -> Self {
        Self::Both.unless_forced()
    }

    /// [`Mode::ServerOnly`], unless the environment asks for the kernel.
    pub fn server_only() -> Self {
        Self::ServerOnly.unless_forced()
    }

    /// [`Mode::ClientOnly`], unless the environment asks for the kernel.
    pub fn client_only() -> Self {
        Self::ClientOnly.unless_forced()
    }

    /// [`Mode::Kernel`].
    pub fn kernel() -> Self {
        Self::Kernel
    }

    /// Whether the server's end is accelerated.
    pub fn server(self) -> bool {
        matches!(self, Self::Both | Self::ServerOnly)
    }

    /// Whether the client's end is accelerated.
    pub fn client(self) -> bool {
        matches!(self, Self::Both | Self::ClientOnly)
    }

    fn unless_forced(self) -> Self {
        match std::env::var("SIDESTEP_TEST_MODE").as_deref() {
            Ok("kernel") => Self::Kernel,
            Ok(other) => panic!("SIDESTEP_TEST_MODE={other}: only \"kernel\" is known"),
            Err(_) => self,
        }
    }
}
