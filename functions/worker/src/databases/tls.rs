//! Encryption of connections to databases.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use shared::models::connector::SslMode;
use std::path::Path;
use std::sync::Arc;

/// Where systems keep the certificates that they trust.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Says whose cryptography drivers use that ask the process for it: there are two among the dependencies, so that none is
/// chosen by itself.
pub fn choose() {
    // An error says that it was chosen before.
    let _ = aws_lc_rs::default_provider().install_default();
}

/// The file with the system's certificates.
pub fn system_roots() -> Option<&'static Path> {
    SYSTEM_ROOTS.iter().map(Path::new).find(|path| path.exists())
}

/// How a client speaks TLS in this mode. `given` are the certificates (PEM) that are believed in the place of the system's.
///
/// # Errors
/// Why it cannot be: there are no certificates to check the server's against.
pub fn client(mode: SslMode, given: Option<&str>) -> Result<ClientConfig, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS cannot be set up: {e}"))?;
    if mode != SslMode::VerifyFull {
        let anyone = Arc::new(Anyone(provider));
        return Ok(builder.dangerous().with_custom_certificate_verifier(anyone).with_no_client_auth());
    }
    let mut roots = RootCertStore::empty();
    match given {
        Some(given) => {
            for (i, certificate) in CertificateDer::pem_slice_iter(given.as_bytes()).enumerate() {
                let wrong =
                    |why: String| format!("the certificate number {} of sslRootCert cannot be read: {why}", i + 1);
                let certificate = certificate.map_err(|e| wrong(e.to_string()))?;
                roots.add(certificate).map_err(|e| wrong(e.to_string()))?;
            }
        }
        None => {
            let read = system_roots().and_then(|path| CertificateDer::pem_file_iter(path).ok());
            roots.add_parsable_certificates(read.into_iter().flatten().filter_map(Result::ok));
        }
    }
    if roots.is_empty() {
        let none = "sslMode verify-full needs certificates to believe, and neither sslRootCert nor the system has any";
        return Err(none.to_owned());
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Takes any certificate, for modes that encrypt without asking who the server is.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
