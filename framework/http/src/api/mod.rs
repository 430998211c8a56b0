//! The routes. Queries answer under `/api/v1` and under their short paths alike.

mod stores;
mod system;
mod topics;

use crate::{app::App, error::ApiError, events, guard, page};
use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{Method, StatusCode, Uri},
    middleware::from_fn_with_state,
    routing::get,
};
use std::sync::Arc;

/// Everything the server answers.
pub(crate) fn router(app: Arc<App>) -> Router {
    let status = Router::new()
        .route("/status", get(system::status))
        .route("/tasks", get(system::tasks))
        .route("/models", get(system::models))
        .route("/summary", get(system::summary))
        .route("/live", get(events::live));
    Router::new()
        .route("/", get(page::html))
        .route("/page.css", get(page::css))
        .route("/page.js", get(page::script))
        .route("/topology.js", get(page::graph))
        .route("/metrics", get(system::metrics))
        .route("/healthz", get(system::healthz))
        .route("/readyz", get(system::readyz))
        .merge(queries())
        .nest("/api/v1", queries().merge(status))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(app.limits.body_bytes))
        .layer(from_fn_with_state(Arc::clone(&app), guard::guard))
        .with_state(app)
}

fn queries() -> Router<Arc<App>> {
    Router::new()
        .route("/topology", get(system::topology))
        .route("/instances", get(system::instances))
        .route("/stores", get(stores::list))
        .route("/stores/{name}", get(stores::range))
        .route("/stores/{name}/{key}", get(stores::value))
        .route("/topics", get(topics::list))
        .route(
            "/topics/{topic}/records",
            get(topics::read).post(topics::append),
        )
        .route("/topics/{topic}/tail", get(events::tail))
}

async fn not_found(uri: Uri) -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "not_found",
        format!("nothing at {}", uri.path()),
    )
}

async fn method_not_allowed(method: Method, uri: Uri) -> ApiError {
    let message = format!("{method} is not for {}", uri.path());
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        message,
    )
}
