//! The host, driven over loopback by a real HTTP client, and by one that misbehaves.

mod api;
mod hostile;
mod page;
mod queue;

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::args::Options;
use crate::gate::Bounds;
use crate::host::Host;
use crate::server;

/// A host of its own for a test, on a free port, until it is dropped.
struct Served {
    host: Host,
    address: SocketAddr,
    agent: ureq::Agent,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Served {
    fn new() -> Self {
        Self::with(Options::default(), Bounds::default())
    }

    /// With tasks that nobody takes: the slots are closed.
    fn without_slots(options: Options) -> Self {
        let served = Self::with(options, Bounds::default());
        served.host.first().engine.set_limit(Some(0)).unwrap();
        served
    }

    fn with(options: Options, bounds: Bounds) -> Self {
        let (tell, told) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let tokio = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            tokio.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let host = Host::with(&options, bounds).unwrap();
                tell.send((host.clone(), listener.local_addr().unwrap())).unwrap();
                let stop = async { drop(stopped.await) };
                server::serve(listener, host, stop).await;
            });
        });
        let (host, address) = told.recv().unwrap();
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(20)))
            .build()
            .new_agent();
        Self {
            host,
            address,
            agent,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn get(&self, token: &str, path: &str) -> Answer {
        let request = self
            .agent
            .get(self.url(path))
            .header("authorization", format!("Bearer {token}"));
        Answer::of(request.call().unwrap())
    }

    fn delete(&self, token: &str, path: &str) -> Answer {
        let request = self.agent.delete(self.url(path));
        let request = request.header("authorization", format!("Bearer {token}"));
        Answer::of(request.call().unwrap())
    }

    fn patch(&self, token: &str, path: &str, body: &Value) -> Answer {
        let request = self.agent.patch(self.url(path));
        let request = request.header("authorization", format!("Bearer {token}"));
        Answer::of(request.send(body.to_string()).unwrap())
    }

    fn post(&self, token: &str, path: &str, body: &Value) -> Answer {
        self.post_text(token, path, &body.to_string())
    }

    fn post_text(&self, token: &str, path: &str, body: &str) -> Answer {
        let request = self
            .agent
            .post(self.url(path))
            .header("authorization", format!("Bearer {token}"));
        Answer::of(request.send(body).unwrap())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The server may have ended by itself; then the join below says why.
            let _ = stop.send(());
        }
        let ended = self.thread.take().map(std::thread::JoinHandle::join);
        if !std::thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}

/// What came back.
#[derive(Debug)]
struct Answer {
    status: u16,
    retry_after: Option<u64>,
    body: Value,
}

impl Answer {
    fn of(mut response: ureq::http::Response<ureq::Body>) -> Self {
        let header = |name: &str| Some(response.headers().get(name)?.to_str().unwrap().to_owned());
        let retry_after = header("retry-after").map(|text| text.parse().unwrap());
        let json = header("content-type").as_deref() == Some("application/json");
        let text = response.body_mut().read_to_string().unwrap();
        Self {
            status: response.status().as_u16(),
            retry_after,
            body: if json {
                serde_json::from_str(&text).unwrap()
            } else {
                Value::String(text)
            },
        }
    }

    /// The code of a refusal, in the one envelope that there is.
    #[track_caller]
    fn code(&self) -> &str {
        assert_eq!(self.body["success"], false, "{self:?}");
        assert!(
            self.body["error"]["message"]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            "{self:?}"
        );
        assert!(self.body["error"]["details"].is_object(), "{self:?}");
        self.body["error"]["code"].as_str().unwrap()
    }

    /// What a refusal under `/api` says, in the reference's shape.
    #[track_caller]
    fn detail(&self, status: u16) -> &str {
        assert_eq!(self.status, status, "{self:?}");
        let detail = self.body["detail"].as_str().unwrap_or_default();
        assert!(!detail.is_empty(), "{self:?}");
        detail
    }

    #[track_caller]
    fn refused(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.code()), (status, code), "{self:?}");
    }
}

const ACME: &str = "acme-token";
const GLOBEX: &str = "globex-token";
