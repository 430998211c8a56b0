//! Metrics, probes, and what the program is and does.

use crate::{
    InstanceStatus, ModelStatus, Status, TaskStatus, TopologyFormat,
    app::App,
    error::{ApiError, ApiResult},
};
use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// `GET /metrics`. Rendering reads `/proc`, and so runs where it may block.
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> ApiResult<Response> {
    let registry = app.registry.clone();
    let text = app.probe(move |_| registry.render()).await?;
    let text = text.map_err(|error| ApiError::internal(error.to_string()))?;
    Ok((
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
        .into_response())
}

/// `GET /healthz`: whether a restart would help.
pub(crate) async fn healthz(State(app): State<Arc<App>>) -> ApiResult<Response> {
    let liveness = app.probe(|program| program.liveness()).await?;
    Ok(probe(liveness, "alive", "dead"))
}

/// `GET /readyz`: whether queries can be answered, and tables are written.
pub(crate) async fn readyz(State(app): State<Arc<App>>) -> ApiResult<Response> {
    let readiness = app.probe(|program| program.readiness()).await?;
    Ok(probe(readiness, "ready", "not ready"))
}

fn probe(health: Result<(), Vec<String>>, good: &str, bad: &str) -> Response {
    match health {
        Ok(()) => Json(json!({ "status": good })).into_response(),
        Err(reasons) => {
            let body = json!({ "status": bad, "reasons": reasons });
            (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
        }
    }
}

/// How a topology is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TopologyQuery {
    #[serde(default)]
    format: TopologyFormat,
}

/// `GET /topology?format=`.
pub(crate) async fn topology(
    State(app): State<Arc<App>>,
    query: Result<Query<TopologyQuery>, QueryRejection>,
) -> ApiResult<Response> {
    let Query(TopologyQuery { format }) = query?;
    let text = app.ask(move |program| program.topology(format)).await?;
    let kind = match format {
        TopologyFormat::Text | TopologyFormat::Mermaid => "text/plain; charset=utf-8",
        TopologyFormat::Json => "application/json",
        TopologyFormat::Dot => "text/vnd.graphviz; charset=utf-8",
    };
    Ok(([(CONTENT_TYPE, kind)], text).into_response())
}

/// `GET /instances`.
pub(crate) async fn instances(State(app): State<Arc<App>>) -> ApiResult<Json<Vec<InstanceStatus>>> {
    app.ask(|program| program.instances()).await.map(Json)
}

/// `GET /api/v1/status`.
pub(crate) async fn status(State(app): State<Arc<App>>) -> ApiResult<Json<Status>> {
    app.ask(|program| program.status()).await.map(Json)
}

/// `GET /api/v1/tasks`.
pub(crate) async fn tasks(State(app): State<Arc<App>>) -> ApiResult<Json<Vec<TaskStatus>>> {
    app.ask(|program| program.status().tasks).await.map(Json)
}

/// `GET /api/v1/models`.
pub(crate) async fn models(State(app): State<Arc<App>>) -> ApiResult<Json<Vec<ModelStatus>>> {
    app.ask(|program| program.models()).await.map(Json)
}

/// `GET /api/v1/summary`: the newest sample. In the first moments there is none yet.
pub(crate) async fn summary(State(app): State<Arc<App>>) -> ApiResult<Response> {
    let summary = Arc::clone(&app.live.subscribe().borrow());
    if summary.is_empty() {
        return Err(ApiError::busy("not_ready", "nothing is sampled yet"));
    }
    Ok(([(CONTENT_TYPE, "application/json")], summary.to_string()).into_response())
}
