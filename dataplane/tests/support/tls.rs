//! Certificates made for a test, and clients that speak TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use breakwater_dataplane::Listen;
use breakwater_snapshot::Kind;
use breakwater_snapshot::unit::{self, TlsVersion};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Client, Plane, id, within};

/// A certificate authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A Secret for these names.
    pub(crate) fn secret(&self, names: &[&str]) -> unit::Certificate {
        let (certificate, key) = self.issue(names, ExtendedKeyUsagePurpose::ServerAuth);
        unit::Certificate {
            chain_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            ocsp: None,
            ocsp_until: None,
        }
    }

    /// A client's certificate, as a Secret holds it.
    pub(crate) fn client_secret(&self) -> unit::Certificate {
        let (certificate, key) = self.issue(&["client"], ExtendedKeyUsagePurpose::ClientAuth);
        unit::Certificate {
            chain_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            ocsp: None,
            ocsp_until: None,
        }
    }

    /// A client's certificate and key.
    pub(crate) fn identity(&self) -> Identity {
        let (certificate, key) = self.issue(&["client"], ExtendedKeyUsagePurpose::ClientAuth);
        (certificate.der().clone(), key.serialize_der())
    }

    fn issue(&self, names: &[&str], usage: ExtendedKeyUsagePurpose) -> (rcgen::Certificate, KeyPair) {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }
}

pub(crate) type Identity = (CertificateDer<'static>, Vec<u8>);

/// How a TLS client connects.
#[derive(Clone)]
pub(crate) struct Dialer(Arc<ClientConfig>);

impl Dialer {
    /// Believes `authority`; TLS 1.3 or 1.2. Sessions are resumed by clones of the same dialer.
    pub(crate) fn new(authority: &Authority) -> Self {
        Self::with(authority, rustls::ALL_VERSIONS, None)
    }

    pub(crate) fn with(
        authority: &Authority,
        versions: &[&'static SupportedProtocolVersion],
        identity: Option<Identity>,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority.0.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let config = match identity {
            Some((certificate, key)) => builder
                .with_client_auth_cert(vec![certificate], PrivateKeyDer::Pkcs8(key.into()))
                .unwrap(),
            None => builder.with_no_client_auth(),
        };
        Self(Arc::new(config))
    }

    pub(crate) fn change(mut self, change: impl FnOnce(&mut ClientConfig)) -> Self {
        let mut config = ClientConfig::clone(&self.0);
        change(&mut config);
        self.0 = Arc::new(config);
        self
    }

    /// Shakes hands with `name`.
    pub(crate) async fn try_connect(
        &self,
        address: SocketAddr,
        name: &str,
    ) -> std::io::Result<Client<TlsStream<TcpStream>>> {
        let stream = TcpStream::connect(address).await?;
        self.over(stream, name).await
    }

    /// Shakes hands on a connection.
    pub(crate) async fn over(&self, stream: TcpStream, name: &str) -> std::io::Result<Client<TlsStream<TcpStream>>> {
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connector = TlsConnector::from(Arc::clone(&self.0));
        let stream = within("the handshake", connector.connect(name, stream)).await?;
        Ok(Client::over(stream))
    }

    pub(crate) async fn connect(&self, plane: &Plane, name: &str) -> Client<TlsStream<TcpStream>> {
        self.try_connect(plane.secure_address(), name).await.unwrap()
    }

    /// The text of the error that ends a handshake.
    pub(crate) async fn refusal(&self, plane: &Plane, name: &str) -> String {
        match self.try_connect(plane.secure_address(), name).await {
            Ok(_) => panic!("{name} was served"),
            Err(error) => error.to_string(),
        }
    }
}

impl Client<TlsStream<TcpStream>> {
    /// The certificate the other side showed.
    pub(crate) fn certificate(&self) -> Vec<u8> {
        let certificates = self.stream.get_ref().1.peer_certificates().unwrap();
        certificates[0].to_vec()
    }

    pub(crate) fn resumed(&self) -> bool {
        self.stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
    }
}

impl Plane {
    /// A data plane that listens in clear text first, then with TLS.
    pub(crate) async fn secure() -> Self {
        Self::with(|options| options.listen.push(secure_listen())).await
    }

    pub(crate) fn secure_address(&self) -> SocketAddr {
        self.data.addresses()[1]
    }
}

pub(crate) fn secure_listen() -> Listen {
    Listen {
        tls: true,
        ..Listen::from("127.0.0.1:0".parse::<SocketAddr>().unwrap())
    }
}

/// These hosts, with the Secret of this name, and nothing else asked for.
pub(crate) fn tls(hosts: &[&str], secret: &str) -> unit::Tls {
    unit::Tls {
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        certificate: id(Kind::Secret, secret),
        redirect: false,
        hsts: None,
        min_version: TlsVersion::Tls12,
        clients: None,
    }
}

/// The first certificate of a Secret.
pub(crate) fn der(secret: &unit::Certificate) -> Vec<u8> {
    CertificateDer::from_pem_slice(secret.chain_pem.as_bytes())
        .unwrap()
        .to_vec()
}
