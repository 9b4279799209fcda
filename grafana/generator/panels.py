"""What all dashboards share: variables, links, and a small vocabulary of panels.

Expressions are written with two short forms:

  {@}        the series of the chosen jobs and instances: `{job=~"$job",instance=~"$instance"}`
  {@, x="y"} the same with more matchers
  NAMED      a matcher for requests that the application named
  GUESSED    a matcher for units that were guessed from the wire; never put both kinds into one panel
"""

from grafana_foundation_sdk.builders import common
from grafana_foundation_sdk.builders import dashboard as boards
from grafana_foundation_sdk.builders import heatmap, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import heatmap as heatmap_models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
NAMED = 'attribution=~"trace|tag|guc|application_name"'
GUESSED = 'attribution=~"marker|ping|transaction|idle|session"'
OFFSET_WEEK = "offset 1w"
UIDS = {
    "overview": "pgtally-overview",
    "routes": "pgtally-routes",
    "statements": "pgtally-statements",
    "findings": "pgtally-findings",
    "cache": "pgtally-cache",
    "health": "pgtally-health",
}


def expand(expression):
    """The expression without short forms."""
    chosen = 'job=~"$job",instance=~"$instance"'
    expression = expression.replace("{@}", "{" + chosen + "}").replace("{@, ", "{" + chosen + ",")
    return expression.replace("NAMED", NAMED).replace("GUESSED", GUESSED)


def board(name, title, description, *variables):
    """A dashboard with what all have."""
    made = (
        boards.Dashboard(f"pgtally / {title}")
        .uid(UIDS[name])
        .description(description)
        .tags(["pgtally", "postgresql"])
        .timezone("browser")
        .time("now-1h", "now")
        .refresh("30s")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .readonly()
        .with_variable(
            boards.DatasourceVariable("datasource").label("Data source").type("prometheus")
        )
        .with_variable(label_variable("job", "Job", "pgtally_build_info, job"))
        .with_variable(label_variable("instance", "Instance", 'pgtally_build_info{job=~"$job"}, instance'))
    )
    for variable in variables:
        made = made.with_variable(variable)
    made = made.with_variable(
        boards.TextBoxVariable("pgtally_url")
        .label("pgtally's page")
        .description("Where the links to pgtally lead: its admin listener as your browser reaches it")
        .default_value("http://127.0.0.1:9187")
    ).with_variable(
        boards.TextBoxVariable("traces_url")
        .label("Traces")
        .description("Where the links to traces lead: Jaeger's search, or that of another tracing system")
        .default_value("http://127.0.0.1:16686")
    )
    made = made.link(
        boards.DashboardLink("pgtally dashboards")
        .type(models.DashboardLinkType.DASHBOARDS)
        .tags(["pgtally"])
        .as_dropdown(True)
        .include_vars(True)
        .keep_time(True)
    ).link(
        boards.DashboardLink("Findings in pgtally")
        .type(models.DashboardLinkType.LINK)
        .url("${pgtally_url}/api/v1/findings")
        .icon("external link")
        .tooltip("Every finding with statement, evidence and fix")
        .target_blank(True)
    )
    for annotation in annotations():
        made = made.annotation(annotation)
    return made


def label_variable(name, label, values, everything=True):
    """A variable of a label's values; `values` is the inside of label_values()."""
    return (
        boards.QueryVariable(name)
        .label(label)
        .query(f"label_values({values})")
        .datasource(SOURCE)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(everything)
        .all_value(".+")
        .current(models.VariableOption(text="All", value="$__all", selected=True))
    )


def annotations():
    """Moments worth a line in every graph: deploys that were announced to Grafana, and restarts of pgtally."""
    return [
        boards.AnnotationQuery()
        .name("Deploys")
        .datasource(models.DataSourceRef(type_val="grafana", uid="-- Grafana --"))
        .enable(True)
        .icon_color("blue")
        .type("tags")
        .target(boards.AnnotationTarget().limit(100).match_any(True).tags(["deploy"]).type("tags")),
        boards.AnnotationQuery()
        .name("pgtally restarts")
        .datasource(SOURCE)
        .enable(True)
        .icon_color("orange")
        .expr(expand("changes(process_start_time_seconds{@}[$__rate_interval]) > 0")),
    ]


def query(expression, legend="", instant=False, shape=PromQueryFormat.TIME_SERIES, ref="A"):
    """One PromQL query of a panel."""
    made = prometheus.Dataquery().expr(expand(expression)).legend_format(legend or "__auto").format(shape).ref_id(ref)
    made = made.datasource(SOURCE)
    return made.instant() if instant else made.range()


def queries(panel, expressions, instant=False, shape=PromQueryFormat.TIME_SERIES):
    """Adds one query or several (expression, legend) to a panel."""
    if isinstance(expressions, str):
        expressions = [(expressions, "")]
    for number, (expression, legend) in enumerate(expressions):
        panel = panel.with_target(query(expression, legend, instant, shape, chr(ord("A") + number)))
    return panel


def steps(thresholds):
    """Colours from values: `[(None, "green"), (1, "red")]`."""
    made = [models.Threshold(value=value, color=color) for value, color in thresholds]
    return boards.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(made)


def link(title, url):
    """A link of a panel's data to somewhere else."""
    return boards.DashboardLink(title).type(models.DashboardLinkType.LINK).url(url).target_blank(True)


def number(title, description, unit, expression, thresholds=((None, "text"),), width=4, decimals=None, links=()):
    """One big number with its recent course."""
    made = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .thresholds(steps(thresholds))
        .graph_mode(common_models.BigValueGraphMode.AREA)
        .color_mode(common_models.BigValueColorMode.VALUE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .no_value("no data")
        .height(4)
        .span(width)
    )
    if decimals is not None:
        made = made.decimals(decimals)
    if links:
        made = made.links(list(links))
    return queries(made, expression)


def graph(title, description, unit, expressions, width=12, height=8, is_stacked=False, links=(), thresholds=None):
    """Lines over time."""
    made = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .height(height)
        .span(width)
        .line_width(1)
        .fill_opacity(30 if is_stacked else 8)
        .show_points(common_models.VisibilityMode.NEVER)
        .legend(
            common.VizLegendOptions()
            .display_mode(common_models.LegendDisplayMode.TABLE)
            .placement(common_models.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["mean", "max"])
        )
        .tooltip(common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI)
                 .sort(common_models.SortOrder.DESCENDING))
    )
    if is_stacked:
        made = made.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL))
    if thresholds:
        made = made.thresholds(steps(thresholds)).thresholds_style(
            common.GraphThresholdsStyleConfig().mode(common_models.GraphTresholdsStyleMode.DASHED)
        )
    if links:
        made = made.data_links(list(links))
    return queries(made, expressions)


def buckets(title, description, unit, expression, width=12, height=8):
    """A histogram over time; the expression sums a histogram's buckets by `le`."""
    made = (
        heatmap.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit("short")
        .height(height)
        .span(width)
        .calculate(False)
        .color(
            heatmap.HeatmapColorOptions()
            .mode(heatmap_models.HeatmapColorMode.SCHEME)
            .scheme("Oranges")
            .steps(64)
        )
        .y_axis(heatmap.YAxisConfig().unit(unit).axis_placement(common_models.AxisPlacement.LEFT))
        .show_tooltip()
        .show_y_histogram()
    )
    return made.with_target(query(expression, "{{le}}", shape=PromQueryFormat.HEATMAP))


def rows(title, description, columns, key, width=24, height=9, sort=None, links=()):
    """A table at the end of the range: `columns` are (title, unit, expression) joined on the label `key`."""
    made = (
        table.Panel().title(title).description(description).datasource(SOURCE).unit("short").height(height).span(width)
    )
    for place, (_, _, expression) in enumerate(columns):
        made = made.with_target(
            query(expression, instant=True, shape=PromQueryFormat.TABLE, ref=chr(ord("A") + place))
        )
    names = {f"Value #{chr(ord('A') + place)}": title for place, (title, _, _) in enumerate(columns)}
    if len(columns) == 1:
        names = {"Value": columns[0][0]}
    made = made.with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
    made = made.with_transformation(
        models.DataTransformerConfig(
            id_val="organize", options={"excludeByName": {"Time": True}, "renameByName": names}
        )
    )
    for title, unit, _ in columns:
        made = made.override_by_name(title, [models.DynamicConfigValue(id_val="unit", value=unit)])
    if links:
        shown = [{"title": title, "url": url, "targetBlank": True} for title, url in links]
        made = made.override_by_name(key, [models.DynamicConfigValue(id_val="links", value=shown)])
    return made.sort_by([common.TableSortByFieldState().display_name(sort or columns[0][0]).desc(True)])


def quantile(share, histogram, matchers="", by="le"):
    """The expression of a histogram's quantile."""
    more = f", {matchers}" if matchers else ""
    return f"histogram_quantile({share}, sum by ({by}) (rate({histogram}_bucket{{@{more}}}[$__rate_interval])))"


def percentiles(histogram, matchers=""):
    """Median, 95th and 99th percentile as (expression, legend)."""
    return [(quantile(share, histogram, matchers), name) for share, name in
            ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))]


def row(title):
    """A heading."""
    return boards.Row(title)
