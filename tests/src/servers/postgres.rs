//! Debian's Postgres, from its binaries alone: no service, no cluster of the machine's.
//!
//! Invariant: a server that was handed out answers. It is as careful with its disk as any, unless
//! a test asks otherwise, and asks for the password of its one user. Started by root it runs as the
//! user `postgres`, because it refuses to be root.

use super::{Scratch, Supervised, certificates::Certificates, ports, supervised};
use anyhow::{Context, Result, ensure};
use std::{
    fs::{self, Permissions},
    net::TcpStream,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Where Debian 12 has it.
const BINARIES: &str = "/usr/lib/postgresql/15/bin";
/// The user whom Debian's package makes for it.
const ACCOUNT: &str = "postgres";
const USER: &str = "tester";
const PASSWORD: &str = "tester-secret";
/// Processes of one server that are looked for, its own connections included.
const FAMILY_MAX: usize = 1_000;

/// What a server has beside the usual.
#[derive(Debug, Clone, Default)]
pub struct PostgresOptions {
    /// TLS alone, with a certificate for `localhost` and `127.0.0.1`; [`Postgres::url`] says what
    /// to trust.
    pub tls: bool,
    /// Answers before the disk has what it says: quicker, and nothing survives a power cut.
    pub without_fsync: bool,
    /// Lines of `postgresql.conf`, which replace this module's.
    pub settings: Vec<(String, String)>,
}

/// A running server.
#[derive(Debug)]
pub struct Postgres {
    /// None while it is down; before the directory, so that it is gone when that is removed.
    process: Mutex<Option<Supervised>>,
    port: u16,
    authority: Option<PathBuf>,
    scratch: Scratch,
}

/// Whether this machine has it.
///
/// # Errors
/// What is missing, and what to run for it.
pub fn available() -> Result<()> {
    let there = binary("initdb").exists() && binary("postgres").exists();
    ensure!(
        there,
        "no Postgres in {BINARIES}: run tests/setup/packages test"
    );
    Ok(())
}

/// One of its programs, such as `psql`.
pub fn binary(name: &str) -> PathBuf {
    Path::new(BINARIES).join(name)
}

impl Postgres {
    /// Makes an empty database server and starts it.
    ///
    /// # Errors
    /// Where Postgres is not there, or what it says when it does not start.
    pub fn start(options: &PostgresOptions) -> Result<Self> {
        available()?;
        let scratch = Scratch::new()?;
        let directory = scratch.path();
        // Everything in it is to be the server's own.
        own(directory)?;
        let password = directory.join("password");
        fs::write(&password, PASSWORD)?;
        own(&password)?;
        let mut initdb = unprivileged(&binary("initdb"));
        initdb
            .args([
                "--no-sync",
                "--auth=scram-sha-256",
                "--locale=C",
                "-E",
                "UTF8",
            ])
            .args(["-U", USER, "--pwfile"])
            .arg(&password)
            .arg("-D")
            .arg(directory.join("data"));
        let output = initdb.current_dir("/").output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "initdb: {errors}");
        let mut server = Self {
            process: Mutex::new(None),
            port: ports::free(1)?[0],
            authority: None,
            scratch,
        };
        server.configure(options)?;
        server.restart()?;
        Ok(server)
    }

    fn configure(&mut self, options: &PostgresOptions) -> Result<()> {
        let data = self.scratch.path().join("data");
        let mut text = format!(
            "listen_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = ''\n\
             shared_buffers = 32MB\nmax_connections = 50\nlogging_collector = off\n",
            self.port
        );
        let mut admitted = "host";
        if options.without_fsync {
            text.push_str("fsync = off\n");
        }
        if options.tls {
            let made = Certificates::make(self.scratch.path())?;
            // It takes its key from a file that nobody else may read.
            fs::set_permissions(&made.key, Permissions::from_mode(0o600))?;
            own(&made.key)?;
            // Its own directory is closed to others, who are to read what they trust.
            fs::set_permissions(self.scratch.path(), Permissions::from_mode(0o711))?;
            text.push_str(&format!(
                "ssl = on\nssl_cert_file = '{}'\nssl_key_file = '{}'\n",
                made.certificate.display(),
                made.key.display()
            ));
            admitted = "hostssl";
            self.authority = Some(made.authority);
        }
        for (key, value) in &options.settings {
            text.push_str(&format!("{key} = {value}\n"));
        }
        // Read after postgresql.conf, and so before all that stands there.
        fs::write(data.join("postgresql.auto.conf"), text)?;
        own(&data.join("postgresql.auto.conf"))?;
        let rule = format!("{admitted} all {USER} 127.0.0.1/32 scram-sha-256\n");
        fs::write(data.join("pg_hba.conf"), rule)?;
        Ok(())
    }

    /// Where its database is, with user and password; with TLS also the authority to trust.
    pub fn url(&self) -> String {
        let port = self.port;
        let url = format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{port}/postgres?sslmode=");
        match &self.authority {
            None => url + "disable",
            Some(file) => format!("{url}verify-full&sslrootcert={}", file.display()),
        }
    }

    /// The number of its first process, if it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process().as_ref().map(Supervised::pid)
    }

    /// Ends it in order: connections are cut, and the disk has everything.
    ///
    /// # Errors
    /// Where it does not run, or does not end in time.
    pub fn stop(&self) -> Result<()> {
        let process = self.process().take();
        let mut process = process.context("the server does not run")?;
        process.signal("INT")?;
        process.ends()
    }

    /// Kills it with all of its processes, as a power cut does.
    ///
    /// # Errors
    /// Where it does not run, or does not end in time.
    pub fn kill(&self) -> Result<()> {
        let process = self.process().take();
        let mut process = process.context("the server does not run")?;
        // Stopped first, so that it has no more children while they are counted.
        process.signal("STOP")?;
        let mut family = vec![process.pid()];
        let children = format!("/proc/{0}/task/{0}/children", process.pid());
        for child in fs::read_to_string(children)?.split_whitespace() {
            ensure!(family.len() < FAMILY_MAX, "too many processes");
            family.push(child.parse()?);
        }
        supervised::signal("KILL", &family)?;
        process.ends()
    }

    /// Starts it again, on the same port and what its disk holds, and returns when it answers.
    ///
    /// # Errors
    /// Where it runs, or what it says when it does not start.
    pub fn restart(&self) -> Result<()> {
        let mut process = self.process();
        ensure!(process.is_none(), "the server runs");
        let mut command = unprivileged(&binary("postgres"));
        command.arg("-D").arg(self.scratch.path().join("data"));
        command.current_dir("/");
        // At once, and it takes its children along.
        let mut started = Supervised::start_ending_by("QUIT", &command)?;
        started.hear("database system is ready to accept connections")?;
        TcpStream::connect(("127.0.0.1", self.port))?;
        *process = Some(started);
        Ok(())
    }

    fn process(&self) -> MutexGuard<'_, Option<Supervised>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether this process is root.
fn root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// A program as the server's own user.
fn unprivileged(program: &Path) -> Command {
    if !root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .arg(format!("--reuid={ACCOUNT}"))
        .arg(format!("--regid={ACCOUNT}"))
        .args(["--init-groups", "--"])
        .arg(program);
    command
}

/// Gives a file to the server's own user.
fn own(path: &Path) -> Result<()> {
    if !root() {
        return Ok(());
    }
    let id = |flag: &str| -> Result<u32> {
        let output = Command::new("id").args([flag, ACCOUNT]).output()?;
        let text = String::from_utf8(output.stdout)?;
        text.trim()
            .parse()
            .with_context(|| format!("no user {ACCOUNT}"))
    };
    chown(path, Some(id("-u")?), Some(id("-g")?)).with_context(|| path.display().to_string())
}
