// As much of React, Next.js and Node as the example uses, so that its types can be checked without them.
declare module "react" {
  export function useState<T>(first: T): [T, (next: T) => void];
}
declare module "next/navigation" {
  export function useRouter(): { refresh(): void };
}
declare module "react/jsx-runtime" {
  export const jsx: unknown;
  export const jsxs: unknown;
  export const Fragment: unknown;
}
declare namespace JSX {
  interface IntrinsicElements {
    [name: string]: Record<string, unknown>;
  }
  interface IntrinsicAttributes {
    key?: string | number;
  }
}
declare const process: { env: Record<string, string | undefined> };
