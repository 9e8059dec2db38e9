export const charts = () => ({})
