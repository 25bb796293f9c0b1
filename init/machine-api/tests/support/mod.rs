//! A node of the machine API on loopback: real TLS, real gRPC, and a PID 1 that only takes notes.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, IsCa, Issuer,
    KeyPair,
};
use rk_machine_api::node::Pid1;
use rk_machine_api::server::Inner;
use rk_machine_api::streams::logs::Places;
use rk_machine_api::trust::{Identity, Resolver, Rotation, acceptor};
use rk_machine_api::{Api, Settings};
use rk_machine_proto::{MachineClient, Role, SERVER_NAME};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

pub const CONFIG: &str = "apiVersion: rk.dev/v1alpha1\nkind: MachineConfig\nrole: control-plane\ncluster: {token: abcdef.0123456789abcdef}\n";

/// Runs a test on one thread, as the service runs.
pub fn block_on(test: impl Future<Output = ()>) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "machines");
        Authority { pem: params.self_signed(&key).unwrap().pem(), issuer: Issuer::new(params, key) }
    }

    fn issue(&self, organization: Option<&str>) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![SERVER_NAME.to_owned()]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "somebody");
        if let Some(organization) = organization {
            params.distinguished_name.push(DnType::OrganizationName, organization);
        }
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

pub struct Node {
    pub address: SocketAddr,
    authority: Authority,
    asked: Arc<Mutex<Vec<String>>>,
    dir: tempfile::TempDir,
}

impl Node {
    pub async fn start(maintenance: bool) -> Node {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let (certificate, key) = authority.issue(None);
        let mut config = rk_config::parse(CONFIG).unwrap().config;
        config.machine_api = Some(rk_config::MachineApi {
            ca: authority.pem.clone(),
            identity: rk_config::Identity { certificate: certificate.clone(), key: key.clone() },
            ..rk_config::MachineApi::default()
        });
        let accepted = dir.path().join("machine.json");
        rk_config::save_accepted(&config, &accepted).unwrap();
        let asked = pid1(dir.path());
        let identity = Identity::from_pem(&certificate, &key).unwrap();
        let resolver = Arc::new(Resolver::new(&identity).unwrap());
        let acceptor = acceptor(Arc::clone(&resolver), Some(authority.pem.as_str()).filter(|_| !maintenance)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let api = Api::new(Inner {
            disks: Default::default(),
            pid1: Arc::new(Pid1::at(&dir.path().join("init.sock"))),
            maintenance,
            accepted,
            offered: dir.path().join("offered.yaml"),
            logs: Places { services: dir.path().join("logs"), pods: dir.path().join("pods") },
            port: address.port(),
            resolver,
            rotation: Rotation::default(),
            busy: Arc::default(),
        });
        tokio::spawn(rk_machine_api::run(Settings { listener, acceptor, maintenance }, api));
        Node { address, authority, asked, dir }
    }

    /// What PID 1 was asked, but for questions.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    pub fn offered(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("offered.yaml")).unwrap()
    }

    pub fn sign(&self, request: &str) -> String {
        CertificateSigningRequestParams::from_pem(request).unwrap().signed_by(&self.authority.issuer).unwrap().pem()
    }

    pub async fn client(&self, role: Option<Role>) -> MachineClient<Channel> {
        let (certificate, key) = self.authority.issue(role.map(Role::organization));
        MachineClient::new(self.channel(Some((certificate, key))).await.unwrap())
    }

    pub async fn client_in_maintenance(&self) -> MachineClient<Channel> {
        MachineClient::new(self.channel(None).await.unwrap())
    }

    /// A holder of another authority's certificate.
    pub async fn stranger(&self) -> Result<(), tonic::Status> {
        let channel = self.channel(Some(Authority::new().issue(Some("rk:admin")))).await;
        let channel = channel.map_err(|err| tonic::Status::unavailable(err.to_string()))?;
        MachineClient::new(channel).version(rk_machine_proto::v1::Empty {}).await.map(drop)
    }

    /// Somebody without any certificate.
    pub async fn anonymous(&self) -> Result<(), tonic::Status> {
        let channel = self.channel(None).await.map_err(|err| tonic::Status::unavailable(err.to_string()))?;
        MachineClient::new(channel).version(rk_machine_proto::v1::Empty {}).await.map(drop)
    }

    /// The certificate that a new connection is shown.
    pub async fn certificate(&self) -> Vec<u8> {
        let pair = self.authority.issue(None);
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from(SERVER_NAME).unwrap();
        let tls = self.connector(Some(pair)).connect(name, stream).await.unwrap();
        tls.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    }

    /// Sends these bytes as a message and answers the code of the outcome.
    pub async fn raw(&self, role: Role, path: &str, body: Vec<u8>) -> tonic::Code {
        let channel = self.channel(Some(self.authority.issue(Some(role.organization())))).await.unwrap();
        wire::call(channel, path, body).await
    }

    async fn channel(&self, pair: Option<(String, String)>) -> Result<Channel, tonic::transport::Error> {
        let (connector, address) = (self.connector(pair), self.address);
        Endpoint::from_static("http://machine.rk.internal")
            .connect_with_connector(tower::service_fn(move |_: http::Uri| {
                let connector = connector.clone();
                async move {
                    let stream = TcpStream::connect(address).await?;
                    let name = ServerName::try_from(SERVER_NAME).map_err(std::io::Error::other)?;
                    Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(connector.connect(name, stream).await?))
                }
            }))
            .await
    }

    fn connector(&self, pair: Option<(String, String)>) -> TlsConnector {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.pem.as_bytes()).unwrap()).unwrap();
        let builder = rustls::ClientConfig::builder().with_root_certificates(roots);
        let mut config = match pair {
            Some((certificate, key)) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                    PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
                )
                .unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        TlsConnector::from(Arc::new(config))
    }
}

/// Answers as PID 1 does and remembers what it was told to do.
fn pid1(dir: &std::path::Path) -> Arc<Mutex<Vec<String>>> {
    use rk_supervise::control::{Request, Status};
    let socket = std::os::unix::net::UnixDatagram::bind(dir.join("init.sock")).unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&asked);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((size, from)) = socket.recv_from(&mut buffer) {
            let answer = match Request::parse(&buffer[..size]) {
                Some(Request::Status) => {
                    format!("ok\n{}", Status { source: "a test".to_owned(), ..Status::default() }.encode())
                }
                Some(Request::Events(_)) => "ok\n1\t5\tstarted\n".to_owned(),
                Some(request) => {
                    notes.lock().unwrap().push(request.to_string());
                    "ok\n".to_owned()
                }
                None => "error not understood".to_owned(),
            };
            if let Some(path) = from.as_pathname() {
                let _ = socket.send_to(answer.as_bytes(), path);
            }
        }
    });
    asked
}

mod wire {
    use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
    use tonic::transport::Channel;
    use tonic::{Code, Status};

    /// Sends and receives messages as they are.
    #[derive(Default)]
    struct Plain;

    impl Codec for Plain {
        type Encode = Vec<u8>;
        type Decode = Vec<u8>;
        type Encoder = Plain;
        type Decoder = Plain;

        fn encoder(&mut self) -> Plain {
            Plain
        }

        fn decoder(&mut self) -> Plain {
            Plain
        }
    }

    impl Encoder for Plain {
        type Item = Vec<u8>;
        type Error = Status;

        fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
            bytes::BufMut::put_slice(buffer, &item);
            Ok(())
        }
    }

    impl Decoder for Plain {
        type Item = Vec<u8>;
        type Error = Status;

        fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
            use bytes::Buf;
            let mut item = vec![0; buffer.remaining()];
            buffer.copy_to_slice(&mut item);
            Ok(Some(item))
        }
    }

    /// One message there, whatever comes back; streams are read for a moment.
    pub async fn call(channel: Channel, path: &str, body: Vec<u8>) -> Code {
        let mut grpc = tonic::client::Grpc::new(channel).max_decoding_message_size(64 << 20);
        grpc.ready().await.unwrap();
        let path = http::uri::PathAndQuery::try_from(path).unwrap();
        let sent = tonic::Request::new(tokio_stream::once(body));
        let mut stream = match grpc.streaming(sent, path, Plain).await {
            Ok(response) => response.into_inner(),
            Err(status) => return status.code(),
        };
        loop {
            match tokio::time::timeout(std::time::Duration::from_millis(300), stream.message()).await {
                Ok(Ok(Some(_))) => {}
                Ok(Ok(None)) | Err(_) => return Code::Ok,
                Ok(Err(status)) => return status.code(),
            }
        }
    }
}
