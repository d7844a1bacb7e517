/** Whether this browser has any WebGPU adapter, one in software included. */
export async function hasAdapter(): Promise<boolean> {
  const { gpu } = navigator as { gpu?: { requestAdapter(): Promise<object | null> } };
  return (await gpu?.requestAdapter()) != null;
}
