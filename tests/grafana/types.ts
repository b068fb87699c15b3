// What a dashboard of ours may hold: Grafana's own types of dashboards, of the options of each kind of panel that is
// used, and of a query to Prometheus, for which @grafana/schema has only the part that all data sources share.
import type { Dashboard as GrafanaDashboard, DataQuery, DataSourceRef, Panel, RowPanel } from '@grafana/schema'
import type * as Gauge from '@grafana/schema/dist/esm/raw/composable/gauge/panelcfg/x/GaugePanelCfg_types.gen'
import type * as Heatmap from '@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen'
import type * as Stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen'
import type * as States from '@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen'
import type * as Table from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen'
import type * as Lines from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen'

/** As it stands in JSON: a value of an enum of texts is written as its text. */
type Json<T> = T extends string ? `${T}` : T extends object ? { [K in keyof T]: Json<T[K]> } : T

interface Query extends Pick<DataQuery, 'refId' | 'hide'> {
  datasource: DataSourceRef
  editorMode: 'code'
  expr: string
  format?: 'heatmap' | 'table' | 'time_series'
  instant?: boolean
  legendFormat: string
  range: boolean
}

type FieldConfig<Custom> = Omit<NonNullable<Panel['fieldConfig']>['defaults'], 'custom'> & { custom?: Partial<Custom> }

interface Of<Type extends string, Options, Custom> extends Omit<Panel, 'fieldConfig' | 'options' | 'targets' | 'type'> {
  type: Type
  fieldConfig: Omit<NonNullable<Panel['fieldConfig']>, 'defaults'> & { defaults: FieldConfig<Custom> }
  options: Partial<Options>
  targets: Query[]
}

type AnyPanel =
  | RowPanel
  | Of<'gauge', Gauge.Options, object>
  | Of<'heatmap', Heatmap.Options, Heatmap.FieldConfig>
  | Of<'stat', Stat.Options, object>
  | Of<'state-timeline', States.Options, States.FieldConfig>
  | Of<'table', Table.Options, Table.FieldConfig>
  | Of<'timeseries', Lines.Options, Lines.FieldConfig>

interface Annotation {
  datasource: DataSourceRef
  enable: boolean
  hide: boolean
  iconColor: string
  name: string
  tagKeys: string
  target: { expr: string; refId: string }
  textFormat: string
  titleFormat: string
}

export type Dashboard = Json<
  Omit<GrafanaDashboard, 'annotations' | 'panels'> & { annotations: { list: Annotation[] }; panels: AnyPanel[] }
>
