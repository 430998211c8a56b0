//! What every request passes through: a time limit, a check of the host named, and headers.
//!
//! Invariant: on a loopback address only requests for `localhost` or an IP literal are answered. A
//! web page can point a name of its own at 127.0.0.1 (DNS rebinding) and would otherwise read state
//! through its visitor's browser. Appends ask for `application/json`, which browsers do not send
//! across origins without asking first.

use crate::{app::App, error::ApiError};
use axum::{
    extract::{Request, State},
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
        },
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use std::{net::IpAddr, sync::Arc};
use tokio::time::timeout;

/// Everything the page needs comes from the server itself, and nothing may frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// Headers of every answer.
const HEADERS: [(HeaderName, HeaderValue); 4] = [
    (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

/// The middleware.
pub(crate) async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let mut response = if app.loopback && !names_this_machine(&request) {
        let message = "this server answers on localhost only; bind another address to open it";
        ApiError::new(StatusCode::MISDIRECTED_REQUEST, "misdirected", message).into_response()
    } else {
        let reads = request.method().is_safe();
        match timeout(app.limits.request_timeout, next.run(request)).await {
            Ok(response) => response,
            Err(_) if reads => {
                ApiError::busy("timed_out", "the answer took too long").into_response()
            }
            // Who takes this for a refusal and asks again may do it twice.
            Err(_) => {
                let message = "the answer took too long; what was asked for may have been done";
                ApiError::new(StatusCode::GATEWAY_TIMEOUT, "unknown_outcome", message)
                    .into_response()
            }
        }
    };
    response.headers_mut().extend(HEADERS);
    response
}

/// Whether a request's host cannot be a foreign name. HTTP/1.0 clients may name none.
fn names_this_machine(request: &Request) -> bool {
    let Some(host) = request.headers().get(HOST) else {
        return true;
    };
    host.to_str().is_ok_and(is_local)
}

fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::is_local;

    #[test]
    fn only_localhost_and_addresses_are_local() {
        for host in [
            "localhost",
            "LocalHost:8080",
            "127.0.0.1:1",
            "[::1]:8080",
            "10.0.0.7",
        ] {
            assert!(is_local(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example:80",
            "127.0.0.1.nip.io",
            "[",
            "::1",
        ] {
            assert!(!is_local(host), "{host}");
        }
    }
}
