//! Throw-away certificates for the encrypted listeners of test servers.
//!
//! Invariant: each call makes a new authority, whose key is deleted at once, valid for two days and
//! for the names `localhost` and `127.0.0.1`.

use anyhow::{Context, Result, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// An authority that clients may trust, and the certificate and key of a server.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// The authority's certificate, as PEM.
    pub authority: PathBuf,
    /// The server's certificate, as PEM.
    pub certificate: PathBuf,
    /// The server's key, as unencrypted PKCS#8 PEM.
    pub key: PathBuf,
}

impl Certificates {
    /// Makes them with `openssl` in a directory that is there.
    ///
    /// # Errors
    /// What `openssl` says.
    pub fn make(directory: &Path) -> Result<Self> {
        let at = |name: &str| directory.join(name);
        let path = |name: &str| at(name).to_string_lossy().into_owned();
        let key = "req -batch -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1";
        let words = |text: &str| -> Vec<String> { text.split(' ').map(str::to_owned).collect() };

        let mut authority = words(key);
        authority.extend(words("-x509 -days 2 -subj /CN=millstream-tests"));
        authority.extend(words(
            "-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign",
        ));
        authority.extend([
            "-keyout".into(),
            path("ca.key"),
            "-out".into(),
            path("ca.pem"),
        ]);
        openssl(&authority)?;

        let mut request = words(key);
        request.extend(words("-subj /CN=localhost -keyout"));
        request.extend([path("server.key"), "-out".into(), path("server.csr")]);
        openssl(&request)?;

        fs::write(at("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n")?;
        let mut signed = words("x509 -req -days 2 -set_serial 1");
        for (flag, file) in [
            ("-in", "server.csr"),
            ("-CA", "ca.pem"),
            ("-CAkey", "ca.key"),
            ("-extfile", "names"),
            ("-out", "server.pem"),
        ] {
            signed.extend([flag.into(), path(file)]);
        }
        openssl(&signed)?;
        for done in ["ca.key", "server.csr", "names"] {
            fs::remove_file(at(done)).context(done)?;
        }
        Ok(Self {
            authority: at("ca.pem"),
            certificate: at("server.pem"),
            key: at("server.key"),
        })
    }
}

fn openssl(arguments: &[String]) -> Result<()> {
    let output = Command::new("openssl").args(arguments).output();
    let output = output.context("starting openssl")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "openssl {arguments:?}: {errors}");
    Ok(())
}
