import type { Request } from "../api/types";
import { pluralize } from "../format";

export const FILES: Record<Request["profile"], string> = {
  GENERIC: "product list",
  SHOPIFY: "Shopify export",
  WOOCOMMERCE: "WooCommerce export",
  MAGENTO: "Magento export",
  BIGCOMMERCE: "BigCommerce export",
  PRESTASHOP: "PrestaShop file",
  MEDUSA: "Medusa export",
  GOOGLE_MERCHANT: "Google Merchant Center feed",
  AMAZON: "Amazon inventory file",
  CUSTOM: "columns chosen at the upload",
};

/** A newer server may have profiles that this page does not know. */
export function nameProfile(profile: Request["profile"]): string {
  return FILES[profile] ?? profile;
}

/** What the file was recognized as. */
export function describeFile({ profile, skippedRows }: Pick<Request, "profile" | "skippedRows">): string {
  const file = nameProfile(profile);
  return skippedRows ? `${file}, ${pluralize(skippedRows, "invalid row")} left as ${skippedRows === 1 ? "it was" : "they were"}` : file;
}
