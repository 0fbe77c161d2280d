//! The metrics endpoint: HTTP on a thread of its own, so that neither whoever asks nor what takes long to count holds the
//! agent up.

use crate::{
    context::Context,
    error::{Refusal, Result},
    metrics::{self, AgentSeen, MapCounts, Seen},
};
use anyhow::Context as _;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ACCEPT, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{cell::RefCell, io, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::{LocalSet, spawn_local},
    time::sleep,
};

/// How often a port that is taken is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// Connections at a time; more wait.
const CONNECTIONS: usize = 32;
/// How long a connection may be silent.
const SILENCE: Duration = Duration::from_secs(60);

/// Reads `--metrics`.
///
/// # Errors
/// `InvalidParameterValue`
pub fn address(typed: &str) -> Result<SocketAddr> {
    typed.parse().map_err(|_| {
        let message = format!(
            "--metrics: '{typed}' is not ADDR:PORT; give an address of this host with a port, such as 127.0.0.1:9464 or \
             [::]:9464"
        );
        Refusal::invalid(message).into()
    })
}

/// Serves until the agent lets go of its end of `agent`. A port that is taken is said, and tried again.
///
/// # Errors
/// Where there is no event loop to be had.
pub fn run(ctx: Arc<Context>, address: SocketAddr, mut agent: watch::Receiver<AgentSeen>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the event loop of the metrics")?;
    let endpoint = Rc::new(Endpoint {
        ctx,
        agent: agent.clone(),
        counts: RefCell::default(),
        complaint: RefCell::default(),
    });
    LocalSet::new().block_on(&runtime, async {
        tokio::select! {
            () = serve(endpoint, address) => {}
            // An error says that the agent has ended; news is for whoever asks.
            () = async { while agent.changed().await.is_ok() {} } => {}
        }
    });
    Ok(())
}

async fn serve(endpoint: Rc<Endpoint>, address: SocketAddr) {
    let listener = bind(address).await;
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let endpoint = Rc::clone(&endpoint);
                spawn_local(async move {
                    converse(endpoint, stream).await;
                    drop(place);
                });
            }
            Err(error) => {
                // Of this one connection, or of descriptors, which others give back.
                log::debug!("cannot accept a connection for metrics: {error}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn bind(address: SocketAddr) -> TcpListener {
    let mut is_said = false;
    loop {
        let bound =
            TcpListener::bind(address).await.and_then(|listener| Ok((listener.local_addr()?, listener)));
        match bound {
            Ok((address, listener)) => {
                log::info!("metrics are served on http://{address}/metrics");
                return listener;
            }
            Err(error) if !is_said => {
                log::error!(
                    "cannot serve metrics on {address}: {error}; {}. It is tried again every {} seconds, and all else goes \
                     on",
                    way_out(&error, address.port()),
                    AGAIN.as_secs()
                );
                is_said = true;
            }
            Err(_) => {}
        }
        sleep(AGAIN).await;
    }
}

/// What to do about it.
fn way_out(error: &io::Error, port: u16) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "`ss -ltnp 'sport = :{port}'` shows who has the port: end that, or start the agent with another --metrics"
        ),
        io::ErrorKind::AddrNotAvailable => {
            "start the agent with an address of this host as --metrics".to_owned()
        }
        _ => "start the agent with another --metrics, of a port from 1024 on".to_owned(),
    }
}

async fn converse(endpoint: Rc<Endpoint>, stream: TcpStream) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let endpoint = Rc::clone(&endpoint);
        async move { endpoint.answer(&request) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(SILENCE);
    if let Err(error) = http.serve_connection(TokioIo::new(stream), answer).await {
        log::debug!("a connection for metrics ended: {error}");
    }
}

struct Endpoint {
    ctx: Arc<Context>,
    agent: watch::Receiver<AgentSeen>,
    counts: RefCell<MapCounts>,
    /// What was last wrong: said once, however often somebody asks.
    complaint: RefCell<Option<String>>,
}

impl Endpoint {
    fn answer(&self, request: &Request<Incoming>) -> hyper::http::Result<Response<Full<Bytes>>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return told(StatusCode::METHOD_NOT_ALLOWED, metrics::PLAIN, "GET /metrics\n".to_owned());
        }
        match request.uri().path() {
            "/metrics" => {}
            "/" => return told(StatusCode::OK, metrics::PLAIN, "sg-ctl agent: see /metrics\n".to_owned()),
            _ => return told(StatusCode::NOT_FOUND, metrics::PLAIN, "see /metrics\n".to_owned()),
        }
        let accepted = request.headers().get_all(ACCEPT).iter();
        let open =
            accepted.filter_map(|value| value.to_str().ok()).any(|value| value.contains("openmetrics-text"));
        match self.scrape() {
            Ok(text) if open => told(StatusCode::OK, metrics::OPEN_METRICS, text),
            Ok(text) => told(StatusCode::OK, metrics::PLAIN, metrics::plain(&text)),
            Err(error) => {
                let complaint = format!("cannot take the metrics: {error:#}");
                let answer = format!("{complaint}\n");
                if self.complaint.borrow().as_ref() != Some(&complaint) {
                    log::error!("{complaint}");
                    self.complaint.replace(Some(complaint));
                }
                told(StatusCode::SERVICE_UNAVAILABLE, metrics::PLAIN, answer)
            }
        }
    }

    fn scrape(&self) -> Result<String> {
        let seen = Seen::look(&self.ctx, &mut self.counts.borrow_mut())?;
        let text = metrics::open_metrics(metrics::families(&seen, &self.agent.borrow()))?;
        self.complaint.replace(None);
        Ok(text)
    }
}

fn told(status: StatusCode, kind: &str, text: String) -> hyper::http::Result<Response<Full<Bytes>>> {
    Response::builder().status(status).header(CONTENT_TYPE, kind).body(Full::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_needs_a_port() {
        assert_eq!(address("[::1]:9464").unwrap().port(), 9464);
        for typed in ["", "9464", ":9464", "localhost:9464", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536"] {
            let refused = address(typed).unwrap_err().to_string();
            let wanted =
                format!("InvalidParameterValue: --metrics: '{typed}' is not ADDR:PORT; give an address");
            assert!(refused.starts_with(&wanted), "{refused}");
        }
    }
}
